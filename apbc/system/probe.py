"""Try TensorFlow and Keras in a process of its own and tell each step as a line of JSON.

Run by `apbc.system.doctor` as ``python -m apbc.system.probe``. A process of its own, because a
broken installation may kill the process that tries it (wheels for another processor, a driver
that does not fit); what was told until then is kept, and the last ``stage`` says what failed.
"""

from __future__ import annotations

import json
import sys
import time

from apbc.system.devices import prepare_environment

MATRIX_SIZE = 512


def tell(**facts: object) -> None:
    """Write one line of facts."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def try_gpu(index: int) -> str | None:
    """Multiply two matrices on one GPU and compare with the CPU; return what went wrong."""
    import numpy as np
    import tensorflow as tf

    a = np.random.default_rng(0).normal(size=(MATRIX_SIZE, MATRIX_SIZE)).astype(np.float32)
    try:
        with tf.device(f"/GPU:{index}"):
            product = tf.matmul(a, a).numpy()
    except tf.errors.OpError as error:
        return str(error.message).splitlines()[0]
    # The tensor cores' TF32 keeps ten bits of the mantissa.
    wrong = float(np.abs(product - a @ a).max()) / MATRIX_SIZE**0.5
    return None if wrong < 0.05 else f"the product is wrong by {wrong:.3g} of its spread"


def try_training() -> dict[str, object]:
    """One training step and one inference of a tiny network; return loss and seconds."""
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    crops = rng.normal(size=(8, 32, 32, 1)).astype(np.float32)
    labels = np.repeat([0.0, 1.0], 4).astype(np.float32)[:, None]
    start = time.monotonic()
    model = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy")
    loss = float(model.train_on_batch(crops, labels))
    scores = model.predict(crops, verbose=0)
    good = bool(np.isfinite(loss) and ((scores >= 0) & (scores <= 1)).all())
    return {"loss": loss, "good": good, "seconds": round(time.monotonic() - start, 2)}


def main() -> None:
    """Tell everything, step by step."""
    prepare_environment()
    tell(stage="importing TensorFlow")
    import tensorflow as tf

    tell(tensorflow=tf.__version__)
    tell(stage="importing Keras")
    import keras

    tell(keras=keras.__version__, backend=keras.backend.backend())
    tell(stage="listing the GPUs")
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    for index, gpu in enumerate(gpus):
        name = tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        tell(stage=f"a matrix product on GPU {index} ({name})")
        tell(gpu={"index": index, "name": name, "error": try_gpu(index)})
    tell(stage="a training step and an inference")
    tell(training=try_training())
    tell(stage="done")


if __name__ == "__main__":
    main()
