"""The HDF5 file of a data set."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from apbc.dataset.labels import BAD, GOOD, UNLABELLED
from apbc.dataset.patch_store import GROUP as PATCHES
from apbc.dataset.patch_store import Patches
from apbc.dataset.split import NAMES
from apbc.dataset.views import UNKNOWN
from apbc.errors import ApbcError
from apbc.io.files import LastWriteCounts
from apbc.preprocess.working import Preprocessing

FORMAT = "apbc dataset 1"
COLUMNS = {
    "kind": np.int8,
    "micrograph": np.int32,
    "coordinates": np.float32,
    "working": np.float32,
    "split": np.int8,
    "has_crop": np.bool_,
    "view": np.int32,
}
LATER_COLUMNS = {"view": UNKNOWN}  # what older files lack, and how they are read

FloatImage = npt.NDArray[np.float32]


class DatasetWriter:
    """Writes a data set label by label; memory does not grow with their number.

    Parameters
    ----------
    path : Path
        File to make, which must not exist.
    crop_size : int
        Side of a crop in working pixels.
    preprocessing : Preprocessing
    """

    def __init__(self, path: Path, crop_size: int, preprocessing: Preprocessing) -> None:
        self._raw = LastWriteCounts(path, "w+b")
        self._file = h5py.File(self._raw, "w")
        self._file.attrs["format"] = FORMAT
        self._file.attrs["preprocessing"] = json.dumps(preprocessing.to_dict())
        self._file.attrs["diameter"] = preprocessing.diameter
        self._file.attrs["pixel_size"] = preprocessing.pixel_size
        self._crops = self._file.create_dataset(
            "crops",
            (0, crop_size, crop_size),
            np.float16,
            maxshape=(None, crop_size, crop_size),
            chunks=(1, crop_size, crop_size),
        )
        self._images = self._file.create_group("images")
        self._hash = hashlib.sha256()

    def add_crops(self, crops: FloatImage) -> None:
        """Append crops, shape (n, size, size)."""
        n = len(self._crops)
        self._crops.resize(n + len(crops), axis=0)
        values = crops.astype(np.float16)
        self._crops[n:] = values
        self._hash.update(values.tobytes())

    def add_image(self, name: str, pixels: FloatImage) -> None:
        """Keep the working image of a micrograph, for calibration."""
        self._images.create_dataset(name, data=pixels.astype(np.float16))

    def finish(
        self,
        columns: dict[str, npt.NDArray[Any]],
        micrographs: dict[str, list[Any]],
        provenance: dict[str, Any],
    ) -> str:
        """Write the tables and close the file.

        Parameters
        ----------
        columns : dict
            One array per column of the table of labels; see `Dataset`.
        micrographs : dict
            ``name``, ``pixel_size`` and ``shape`` of each micrograph.
        provenance : dict
            What went in and with which options; plain values.

        Returns
        -------
        str
            Hash of crops, labels and split.
        """
        labels = self._file.create_group("labels")
        for name, dtype in COLUMNS.items():
            values = np.asarray(columns[name], dtype)
            labels.create_dataset(name, data=values)
            self._hash.update(values.tobytes())
        names = np.array(micrographs["name"], dtype=h5py.string_dtype())
        self._file.create_dataset("micrographs/name", data=names)
        for key in ("pixel_size", "shape"):
            self._file.create_dataset(f"micrographs/{key}", data=np.array(micrographs[key]))
        digest = self._hash.hexdigest()
        self._file.attrs["data_hash"] = digest
        self._file.attrs["provenance"] = json.dumps(provenance)
        self.close()
        return digest

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()


class Dataset:
    """A data set opened for reading; crops stay on disk until asked for.

    Parameters
    ----------
    path : str or Path

    Attributes
    ----------
    preprocessing : Preprocessing
    crop_size : int
        Side of a crop in working pixels; its middle pixel is ``crop_size // 2``.
    kind : ndarray of int8, shape (n,)
        1 good, 0 bad, -1 unlabelled background; one row a label.
    micrograph : ndarray of int32, shape (n,)
        Index into `micrograph_names`; -1 for particles of stacks.
    coordinates : ndarray of float32, shape (n, 2)
        ``x, y`` in pixels of the micrograph.
    working : ndarray of float32, shape (n, 2)
        ``x, y`` in working pixels.
    split : ndarray of int8, shape (n,)
        0 training, 1 validation, 2 test.
    view : ndarray of int32, shape (n,)
        2D class of each label, 1 or more; -1 where it is not known.
    crop_rows : ndarray of int, shape (m,)
        Row of the label that each crop belongs to, in the order of the crops.
    micrograph_names : list of str
    data_hash : str
    provenance : dict

    Raises
    ------
    ApbcError
        If the file is missing, damaged or no data set of this version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ApbcError(f"there is no data set {path}; make one with apbc dataset")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise ApbcError(
                f"{path} is damaged or not an HDF5 file; make it again with apbc dataset"
            ) from error
        if self._file.attrs.get("format") != FORMAT:
            self._file.close()
            raise ApbcError(
                f"{path} is not a data set of this version of apbc; make it with apbc dataset"
            )
        self.preprocessing = Preprocessing.from_dict(json.loads(self._file.attrs["preprocessing"]))
        self._crops = self._file["crops"]
        self._map: npt.NDArray[np.uint8] | None = None
        self._offsets = np.empty(0, np.int64)
        self.crop_size = int(self._crops.shape[1])
        labels = self._file["labels"]
        n = len(labels["kind"])
        table = {
            name: labels[name][:]
            if name in labels or name not in LATER_COLUMNS
            else np.full(n, LATER_COLUMNS[name], dtype)
            for name, dtype in COLUMNS.items()
        }
        self.kind = table["kind"]
        self.micrograph = table["micrograph"]
        self.coordinates = table["coordinates"]
        self.working = table["working"]
        self.split = table["split"]
        self.view = table["view"]
        self.crop_rows = np.flatnonzero(table["has_crop"])
        if len(self.crop_rows) != len(self._crops):
            raise ApbcError(f"{path} is incomplete; make it again with apbc dataset")
        self.micrograph_names = [n.decode() for n in self._file["micrographs/name"][:]]
        self.data_hash = str(self._file.attrs["data_hash"])
        self.provenance = json.loads(self._file.attrs["provenance"])

    def __enter__(self) -> Dataset:
        """Give the data set itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._map = None
        self._file.close()

    @property
    def patches(self) -> Patches | None:
        """What a classifier of shapes learns from; None where the file has none.

        Raises
        ------
        ApbcError
            If they are incomplete or of another version.
        """
        return Patches(self._file[PATCHES], self.path) if PATCHES in self._file else None

    def crops(self, positions: npt.NDArray[np.integer]) -> FloatImage:
        """Crops by their positions among the crops, in any order.

        Parameters
        ----------
        positions : ndarray of int, shape (n,)

        Returns
        -------
        ndarray of float32, shape (n, crop_size, crop_size)
        """
        return self.stored_crops(positions).astype(np.float32)

    def stored_crops(self, positions: npt.NDArray[np.integer]) -> npt.NDArray[np.float16]:
        """Crops as they are stored, shape (n, crop_size, crop_size).

        They are taken out of a memory map of the file, past the HDF5 library, whose
        lookup of a chunk for every crop takes longer than a step of training.

        Raises
        ------
        ApbcError
            If another program has packed the file anew.
        """
        if self._map is None:
            self._offsets = self._find_crops()
            self._map = np.memmap(self.path, np.uint8, mode="r")
        size = self.crop_size**2 * 2
        pixels = [self._map[start : start + size] for start in self._offsets[positions]]
        shape = (len(pixels), self.crop_size, self.crop_size)
        if not pixels:
            return np.empty(shape, np.float16)
        stored = np.stack(pixels).view(self._crops.dtype).reshape(shape)
        return stored.astype(np.float16, copy=False)  # of this machine's byte order

    def _find_crops(self) -> npt.NDArray[np.int64]:
        """Where the pixels of each crop begin in the file, which holds them as they are."""
        offsets = np.zeros(len(self._crops), np.int64)

        def note(chunk: Any) -> None:
            offsets[chunk.chunk_offset[0]] = chunk.byte_offset

        plain = self._crops.id.get_create_plist().get_nfilters() == 0
        if plain and self._crops.chunks == (1, self.crop_size, self.crop_size):
            self._crops.id.chunk_iter(note)
        if not offsets.all():  # a chunk that was never written has no place either
            raise ApbcError(
                f"the crops of {self.path} do not lie in it as apbc dataset writes them: another "
                "program packed it anew; make it again with apbc dataset"
            )
        return offsets

    def crops_of(self, split: int | None, kinds: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Positions of the crops of a split (None: all) and of some kinds."""
        rows = self.crop_rows
        chosen = np.isin(self.kind[rows], kinds)
        if split is not None:
            chosen &= self.split[rows] == split
        return np.flatnonzero(chosen)

    def image(self, name: str) -> FloatImage:
        """Working image of one kept micrograph."""
        return self._file["images"][name][:].astype(np.float32)

    @property
    def image_names(self) -> list[str]:
        """Names of the micrographs whose working image was kept."""
        return list(self._file["images"])

    @property
    def split_by_micrograph(self) -> bool:
        """Whether whole micrographs were split, and not particles."""
        return bool(self.provenance["options"]["split_by"] == "micrograph")

    def images_of(self, *splits: int) -> list[str]:
        """Names of the kept micrographs of some splits; none where particles were split."""
        if not self.split_by_micrograph:
            return []
        return [name for name in self.image_names if self.split_of_micrograph(name) in splits]

    def labels_on(self, name: str, kind: int) -> npt.NDArray[np.int64]:
        """Rows of the labels of a kind on a micrograph."""
        here = self.micrograph == self.micrograph_names.index(name)
        return np.flatnonzero(here & (self.kind == kind))

    def split_of_micrograph(self, name: str) -> int:
        """Split of a micrograph, when the split is by micrograph."""
        rows = self.micrograph == self.micrograph_names.index(name)
        return int(self.split[rows][0])

    @property
    def good_alone(self) -> bool:
        """Whether it holds no bad particles, which then are not known."""
        return not bool((self.kind == BAD).any())

    def counts(self) -> dict[str, dict[str, int]]:
        """Labels of each kind in each split: ``{"train": {"good": n, ...}, ...}``."""
        kinds = {"good": GOOD, "bad": BAD, "unlabelled": UNLABELLED}
        return {
            part: {
                name: int(np.sum((self.split == i) & (self.kind == kind)))
                for name, kind in kinds.items()
            }
            for i, part in enumerate(NAMES)
        }
