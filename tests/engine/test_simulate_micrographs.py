"""Whole simulated micrographs: the files, the truth, the physics, and bad input."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import scipy.fft
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from apbc.commands.main import main
from apbc.errors import ApbcError
from apbc.evaluation.contamination import KINDS as MASK_KINDS
from apbc.geometry import euler_to_matrix
from apbc.io.coordinates import read_coordinates, read_truth_columns
from apbc.io.ctf import Ctf, read_ctf
from apbc.io.star import read_star
from apbc.io.volumes import read_volume
from apbc.preprocess.ctf import ctf_2d
from apbc.simulate import ice
from apbc.simulate.detector import Detector, read_mtf
from apbc.simulate.exposure import Exposure, expose
from apbc.simulate.field import Contamination, Crowd, Field, Particles, contamination
from apbc.simulate.micrographs import (
    LEAST_SIDE,
    Settings,
    check_request,
    draw,
    named_streams,
    simulate_micrographs,
)
from apbc.simulate.optics import interaction
from apbc.simulate.particle_model import ParticleModel, Projectors, sides
from apbc.simulate.slices import SliceProjector
from apbc.simulate.structures import load_structures
from apbc.simulate.truth import Label, visible

PIXEL_SIZE = 3.0
SHAPE = (512, 640)
COMMON = ["--builtin", "barrel", "--pixel-size", PIXEL_SIZE, "--size", *SHAPE, "--seed", 4]


def simulate(out, *words, expect=0):
    """Run ``apbc simulate micrographs``."""
    line = ["simulate", "micrographs", "--out", out, *words]
    assert main([str(word) for word in line]) == expect


def truth_of(out, name):
    """Centres and the other columns of a truth file."""
    path = out / "truth" / f"{name}.csv"
    return read_coordinates(path)[:, :2], read_truth_columns(path)[name]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Two small micrographs of two structures with everything in them."""
    out = tmp_path_factory.mktemp("micrographs") / "set"
    words = ["--builtin", "barrel", "globule", "--weights", 3, 1, *COMMON[2:], "--threads", 2]
    words += ["--micrographs", 2, "--particles", 40, "--carbon", 1, "--ice-blobs", 100]
    words += ["--crystals", 20, "--gold", 100, "--aggregates", 40, "--ethane", 9, "--tilt", 20]
    simulate(out, *words)
    return out


@pytest.fixture(scope="module")
def model():
    """Model of the barrel at the pixel size of the tests."""
    return ParticleModel(load_structures((), ["barrel"], PIXEL_SIZE)[0], PIXEL_SIZE)


@pytest.fixture(scope="module")
def projectors(model):
    return Projectors([model])


def particles_at(centres, angles=None, offsets=None):
    """Particles of the first structure."""
    centres = np.array(centres, float)
    none = np.zeros((len(centres), 3))
    return Particles(
        centres,
        np.zeros(len(centres), int),
        none if angles is None else np.array(angles, float),
        none[:, 0] if offsets is None else np.array(offsets, float),
    )


def clear(**changes):
    """Exposure in which next to nothing but the particles shows."""
    plain = {
        "dose": 1e7,
        "ice_noise": 0.0,
        "gradient": 0.0,
        "envelope_b": 0.0,
        "detector": Detector("perfect"),
    }
    return Exposure(**{**plain, **changes})


def round_ctf(defocus):
    return Ctf(defocus, defocus, 0.0, 300.0, 2.7, 0.1)


def test_files(simulated):
    summary = json.loads((simulated / "simulation.json").read_text())
    assert not (simulated / "simulation.partial.json").exists()
    assert [entry["class"] for entry in summary["structures"]] == [1, 2]
    names = ["sim4_0001", "sim4_0002"]
    assert sorted(read_ctf(simulated / "micrographs_ctf.star")) == names
    tables = read_star(simulated / "micrographs_ctf.star").tables
    assert tables["optics"].text("rlnMicrographPixelSize") == ["3.0"]
    total = shown = 0
    for name in names:
        with mrcfile.open(simulated / "micrographs" / f"{name}.mrc") as mrc:
            assert mrc.data.shape == SHAPE and mrc.data.dtype == np.float32
            assert float(mrc.voxel_size.x) == pytest.approx(PIXEL_SIZE)
            assert (mrc.data == np.rint(mrc.data)).all()
        mask = mrcfile.read(simulated / "masks" / f"{name}.mrc")
        assert mask.shape == SHAPE and mask.dtype == np.int8
        assert mask.min() >= 0 and mask.max() < len(MASK_KINDS) == len(Label)
        header = (simulated / "truth" / f"{name}.csv").read_text().splitlines()[0]
        assert header == "x,y,class,rot,tilt,psi,visible,defocus_offset"
        centres, columns = truth_of(simulated, name)
        assert (centres >= 0).all() and (centres <= (SHAPE[1] - 1, SHAPE[0] - 1)).all()
        assert set(columns["class"]) == {1.0, 2.0}
        # What lies on contamination does not show.
        x, y = np.rint(centres[columns["visible"] == 1]).astype(int).T
        assert (mask[y, x] == Label.CLEAN).all()
        total, shown = total + len(centres), shown + int(columns["visible"].sum())
    assert (summary["particles"], summary["visible"]) == (total, shown)
    assert 0 < shown < total
    counts = [entry["particles"] for entry in summary["structures"]]
    assert sum(counts) == total and counts[0] > counts[1]
    volume = read_volume(simulated / summary["structures"][0]["volume"])
    assert volume.pixel_size == pytest.approx(PIXEL_SIZE)
    # A tilted specimen has a slope of defocus.
    lines = (simulated / "truth" / "sim4_0001.csv").read_text().splitlines()[1:]
    offsets = [float(line.split(",")[-1]) for line in lines]
    assert 100 < np.ptp(offsets) < np.hypot(*SHAPE) * PIXEL_SIZE * np.tan(np.deg2rad(20))


def test_labels_are_those_of_the_comparison():
    """The numbers in masks and what `apbc compare` reads from them."""
    words = dict(zip(Label, MASK_KINDS, strict=True))
    assert "clean" in words[Label.CLEAN] and "carbon" in words[Label.CARBON]
    assert "blob" in words[Label.ICE_BLOB] and "crystal" in words[Label.CRYSTAL]
    assert "gold" in words[Label.GOLD] and "aggregate" in words[Label.DEBRIS]


def test_every_particle_is_where_the_truth_says(tmp_path):
    """The mean of boxes round the truth is a dark particle whose centre is the box's."""
    words = ["--particles", 60, "--overlap", 0, "--no-contamination", "--defocus", 15000, 15000]
    simulate(tmp_path / "set", *COMMON, "--micrographs", 2, *words)
    half, boxes = 40, []
    for name in ("sim4_0001", "sim4_0002"):
        image = mrcfile.read(tmp_path / "set" / "micrographs" / f"{name}.mrc")
        centres, columns = truth_of(tmp_path / "set", name)
        assert len(centres) == 60
        assert pdist(centres).min() > 0.99 * 170 / PIXEL_SIZE
        for x, y in np.rint(centres[columns["visible"] == 1]).astype(int):
            box = image[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
            if box.shape == (2 * half + 1, 2 * half + 1):
                boxes.append(box)
    mean = np.mean(boxes, axis=0)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    radius = np.hypot(x, y) * PIXEL_SIZE
    background = np.median(mean[radius > 100])
    assert mean[radius < 60].mean() < 0.99 * background
    depth = np.clip(background - mean, 0, None) * (radius < 100)
    depth[depth < 0.2 * depth.max()] = 0
    centroid = np.array([(x * depth).sum(), (y * depth).sum()]) / depth.sum()
    assert np.abs(centroid).max() < 1


def test_poses_are_those_of_the_truth(tmp_path):
    """A given particle looks like its projection seen through the CTF, and not mirrored."""
    folder = tmp_path / "given"
    folder.mkdir()
    rows = ["x,y,class,rot,tilt,psi", "150.3,110.6,1,40,70,25", "60,60,0,0,0,0"]
    rows += ["300,140,2,-20,100,110"]
    (folder / "a.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "set"
    words = ["--builtin", "hinge:40", "antibody:30", "--pixel-size", 2, "--size", 256, 400]
    words += ["--coordinates", folder, "--dose", 1e6, "--ice-noise", 0, "--envelope-b", 0]
    words += ["--thickness-gradient", 0, "--detector", "perfect", "--no-contamination"]
    simulate(out, *words)
    centres, columns = truth_of(out, "a")
    np.testing.assert_allclose(centres, [[150.3, 110.6], [300, 140]])
    assert columns["class"].tolist() == [1, 2] and columns["visible"].all()
    image = mrcfile.read(out / "micrographs" / "a.mrc")
    ctf = read_ctf(out / "micrographs_ctf.star")["a"]
    structures = json.loads((out / "simulation.json").read_text())["structures"]
    for row, (x, y) in enumerate([(150, 111), (300, 140)]):
        volume = read_volume(out / structures[row]["volume"])
        angles = [columns[name][row] for name in ("rot", "tilt", "psi")]
        half = volume.box_size // 2
        crop = image[y - half : y + half, x - half : x + half]
        seen = SliceProjector(volume.data).project(euler_to_matrix([angles])[0])
        seen = scipy.fft.irfft2(scipy.fft.rfft2(seen) * ctf_2d(seen.shape, 2.0, ctf), s=seen.shape)
        agreement = -np.corrcoef(crop.ravel(), seen.ravel())[0, 1]
        mirrored = -np.corrcoef(crop.ravel(), seen[:, ::-1].ravel())[0, 1]
        assert agreement > 0.9 > mirrored + 0.1


def test_a_particle_at_another_height_has_another_defocus(model, projectors):
    """An offset of the defocus does what that defocus of the micrograph does."""
    images = []
    for defocus, offset in ((12000.0, 0.0), (10000.0, 2000.0), (10000.0, 0.0)):
        scene = Field(particles_at([[100.4, 90.7]], [[10, 80, 30]], [offset]))
        image, _ = expose(
            scene,
            [model],
            projectors,
            round_ctf(defocus),
            (192, 200),
            PIXEL_SIZE,
            clear(),
            np.random.SeedSequence(0),
        )
        images.append(image - image.mean())
    assert (images[0] - images[1]).std() < 0.1 * (images[0] - images[2]).std()


def test_contrast_is_that_of_theory(model, projectors):
    """The mean phase of a particle darkens by twice the amplitude contrast."""
    scene = Field(particles_at([[180, 180], [5000, 90]]))
    conditions = clear(particle_contrast=1.0, thickness=1e-3)
    seed = np.random.SeedSequence(1)
    arguments = (round_ctf(15000.0), (360, 360), PIXEL_SIZE, conditions, seed)
    image, mask = expose(scene, [model], projectors, *arguments)
    electrons = conditions.dose * PIXEL_SIZE**2
    missing = (1 - image / electrons).sum()
    integral = float(model.volume().data.sum()) * PIXEL_SIZE**3
    phase = interaction(300.0) * integral / PIXEL_SIZE**2
    # Linear interpolation of the transform leaves some percent at the origin (see SliceProjector).
    assert missing == pytest.approx(2 * 0.1 * phase, rel=0.08)
    assert not mask.any()


def test_result_does_not_depend_on_threads_number_or_interruption(tmp_path, capsys):
    words = [*COMMON, "--particles", 20, "--carbon", 1, "--ice-blobs", 90, "--crystals", 30]
    first, second = tmp_path / "a", tmp_path / "b"
    simulate(first, *words, "--micrographs", 2, "--threads", 1)
    simulate(second, *words, "--micrographs", 1, "--threads", 2)

    def content(out):
        return {
            str(path.relative_to(out)): path.read_bytes()
            for path in sorted(out.rglob("*"))
            if path.suffix in (".mrc", ".csv", ".star")
        }

    whole = content(first)
    some = content(second)
    some.pop("micrographs_ctf.star")
    assert len(some) == 4
    assert all(whole[name] == data for name, data in some.items())
    # Going on: what is there stays, what is missing comes back as it was.
    simulate(second, *words, "--micrographs", 2, "--threads", 2)
    assert content(second) == whole
    stamp = (second / "micrographs" / "sim4_0001.mrc").stat().st_mtime_ns
    (second / "simulation.json").rename(second / "simulation.partial.json")
    (second / "micrographs" / "sim4_0002.mrc").unlink()
    simulate(second, *words, "--micrographs", 2)
    assert content(second) == whole
    assert (second / "micrographs" / "sim4_0001.mrc").stat().st_mtime_ns == stamp
    # Other parameters are refused by name, and another seed gives other images.
    simulate(second, *words, "--micrographs", 2, "--dose", 41, expect=1)
    assert "exposure.dose was 40.0 and is 41.0" in capsys.readouterr().err
    simulate(second, *words, "--micrographs", 2, "--resolution", 40, expect=1)
    assert "other parameters (structures)" in capsys.readouterr().err
    simulate(second, *words, "--micrographs", 2, "--builtin-seed", 1, expect=1)
    assert "other parameters (structures)" in capsys.readouterr().err
    # Fewer would leave micrographs behind of which no file tells.
    simulate(second, *words, "--micrographs", 1, expect=1)
    assert "holds 2 micrographs, 1 more than are asked for" in capsys.readouterr().err
    assert content(second) == whole
    assert content(second) == whole
    simulate(tmp_path / "c", *words, "--micrographs", 1, "--seed", 5)
    assert content(tmp_path / "c")["truth/sim5_0001.csv"] != whole["truth/sim4_0001.csv"]


def test_contamination_can_be_chosen():
    """Each kind has its label, and changes neither the particles nor another kind."""
    diameters, weights = np.array([170.0]), np.ones(1)
    none = dict.fromkeys(vars(Contamination()), 0.0)
    settings = Settings(PIXEL_SIZE, SHAPE, crowd=Crowd(number=15))

    def drawn(**amounts):
        changed = Settings(
            PIXEL_SIZE,
            SHAPE,
            crowd=settings.crowd,
            contamination=contamination({**none, **amounts}),
        )
        return draw(changed, diameters, weights, None, named_streams(3, 0))

    bare = drawn()
    assert not bare.things and not bare.debris
    labels = {
        "carbon": Label.CARBON,
        "ice_blobs": Label.ICE_BLOB,
        "crystals": Label.CRYSTAL,
        "ethane": Label.CRYSTAL,
        "gold": Label.GOLD,
    }
    for name, label in labels.items():
        scene = drawn(**{name: 1.0 if name == "carbon" else 90.0})
        assert {thing.label for thing in scene.things} == {label}
        if name != "carbon":
            np.testing.assert_array_equal(scene.particles.centres, bare.particles.centres)
    both = drawn(gold=90.0, ice_blobs=90.0)
    alone = drawn(gold=90.0)
    assert [t for t in both.things if t.label == Label.GOLD] == alone.things
    assert all(piece.cut for piece in drawn(broken=1.0).debris)
    assert len(drawn(aggregates=90.0).debris) >= 6


def test_masks_and_looks(model, projectors):
    """Gold is dark with a bright ring, ice is dark, and the mask has them all."""
    diameters, weights = np.array([170.0]), np.ones(1)
    found = set()
    for seed, amounts in enumerate(
        [
            {"gold": 60.0},
            {"ice_blobs": 90.0},
            {"carbon": 1.0},
            {"crystals": 90.0},
            {"aggregates": 90.0},
        ]
    ):
        none = dict.fromkeys(vars(Contamination()), 0.0)
        settings = Settings(
            PIXEL_SIZE,
            SHAPE,
            crowd=Crowd(number=0),
            exposure=Exposure(gradient=0.0),
            contamination=contamination({**none, **amounts}),
        )
        scene = draw(settings, diameters, weights, None, named_streams(seed + 1, 2))
        arguments = (round_ctf(15000.0), SHAPE, PIXEL_SIZE, settings.exposure)
        image, mask = expose(scene, [model], projectors, *arguments, np.random.SeedSequence(seed))
        label = next(iter(set(np.unique(mask)) - {0}))
        found.add(label)
        clean, covered = image[mask == 0].mean(), image[mask == label].mean()
        if label in (Label.CARBON, Label.GOLD):
            assert covered < 0.97 * clean
        if label == Label.GOLD:
            assert covered < 0.4 * clean
            bead = scene.things[0]
            y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
            distance = np.hypot(x - bead.x, y - bead.y) - bead.radius
            ring = (distance > 1) & (distance < 6) & (mask == 0)
            assert image[ring].mean() > 1.03 * clean
    assert found == {Label.GOLD, Label.ICE_BLOB, Label.CARBON, Label.CRYSTAL, Label.DEBRIS}


@pytest.mark.parametrize(("pixel_size", "spots"), [(1.5, True), (3.0, False)])
def test_hexagonal_ice_diffracts_where_pixels_allow(model, pixel_size, spots):
    """Its strongest reflection lies at 3.90 Å, if two pixels are less than that."""
    from apbc.simulate.crystals import ALONG_A, ALONG_C, Crystal

    lengths = sorted({round(1 / np.hypot(*g), 2) for g in ALONG_A + ALONG_C})
    assert lengths == pytest.approx([3.44, 3.66, 3.89], abs=0.015)
    side = 384
    edges = np.array([[angle, 150.0] for angle in np.arange(6) * np.pi / 3])
    waves = np.array([[*g, 0.0] for g in ALONG_C])
    crystal = Crystal(side / 2, side / 2, 160.0, edges, waves, 0.1, 0.05)
    image, mask = expose(
        Field(particles_at(np.empty((0, 2))), [crystal]),
        [model],
        Projectors([model]),
        round_ctf(10000.0),
        (side, side),
        pixel_size,
        Exposure(),
        np.random.SeedSequence(0),
    )
    assert (mask == Label.CRYSTAL).mean() > 0.3
    power = np.abs(scipy.fft.fft2(image - image.mean())) ** 2
    frequency = scipy.fft.fftfreq(side, pixel_size)
    radius = np.hypot(frequency[:, None], frequency)
    high = radius > 0.6 * 0.5 / pixel_size
    strongest = radius[high][power[high].argmax()]
    contrast = power[high].max() / np.median(power[high])
    if spots:
        assert contrast > 60 and strongest == pytest.approx(1 / 3.89, abs=0.004)
    else:
        assert contrast < 40


def test_particles_that_cannot_be_seen():
    """Contamination at the centre, or over half of the disc, or others over half of it."""
    mask = np.zeros((200, 300), np.int8)
    mask[:, 200:] = Label.CARBON
    mask[100, 50] = Label.GOLD
    centres = np.array(
        [[190, 60], [201, 150], [50, 100], [100, 60], [108, 60], [100, 150], [127, 150]]
    )
    shown = visible(centres.astype(float), np.full(7, 40.0), mask)
    assert shown.tolist() == [True, False, False, False, False, True, True]
    # A small one may be hidden by a large one, not the other way round.
    pair = np.array([[100.0, 60.0], [125.0, 60.0]])
    assert visible(pair, np.array([80.0, 20.0]), np.zeros_like(mask)).tolist() == [True, False]
    # Outside of the frame there is nothing to be seen, but something to hide behind.
    outside = np.array([[-3.0, 60.0], [5.0, 60.0]])
    assert visible(outside, np.full(2, 40.0), np.zeros_like(mask)).tolist() == [False, False]


def test_camera_counts_electrons():
    """Shot noise is Poisson's; an integrating camera spreads it; electrons are lost to the DQE."""
    expected = np.full((300, 256), 50.0, np.float32)
    with ThreadPoolExecutor(2) as pool:
        seed = np.random.SeedSequence(3)
        counted = Detector("counting", dqe=0.8).count(expected.copy(), seed, pool)
        spread = Detector("integrating", dqe=0.8).count(
            expected.copy(), np.random.SeedSequence(3), pool
        )
        perfect = Detector("perfect", dqe=0.5).count(
            expected.copy(), np.random.SeedSequence(3), pool
        )
    assert counted.mean() == pytest.approx(40, rel=0.01)
    assert counted.var() == pytest.approx(40, rel=0.03)
    assert perfect.mean() == pytest.approx(50, rel=0.01)
    assert spread.mean() == pytest.approx(40, rel=0.01) and spread.var() < 0.7 * counted.var()
    assert Detector().mtf([0.0, 0.25, 0.5]) == pytest.approx([1, 0.806, 0.408], abs=0.01)


def test_mtf_of_a_file(tmp_path):
    """RELION's columns; the curve is followed, and what is no curve is refused."""
    star = tmp_path / "mtf.star"
    head = "data_\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n"
    star.write_text(head + "0 1\n0.25 0.6\n0.5 0.2\n")
    detector = Detector("counting", 0.8, *read_mtf(star))
    assert detector.mtf([0, 0.125, 0.5]) == pytest.approx([1, 0.8, 0.2])
    for rows, said in (
        ("0 1\n0.25 0.6\n", "rise from 0 to 0.5"),
        ("0 1\n0.5 7\n", "between 0 and 1"),
    ):
        star.write_text(head + rows)
        with pytest.raises(ApbcError, match=said):
            read_mtf(star)


def test_ice_has_the_power_of_its_molecules():
    """Averaged over frequencies, the phase has the power that theory gives per area."""
    rng = np.random.default_rng(0)
    noise = ice.structural_noise((256, 320), 2.0, 40.0, 300.0, rng)
    power = np.abs(scipy.fft.rfft2(noise)) ** 2 / noise.size * 2.0**2
    frequency = np.hypot(
        scipy.fft.fftfreq(256, 2.0)[:, None], scipy.fft.rfftfreq(320, 2.0)[None, :]
    )
    alone = (interaction(300.0) * ice.WATER_POTENTIAL) ** 2 * ice.WATER_DENSITY
    for low, high in ((0.01, 0.05), (0.1, 0.15)):
        band = (frequency > low) & (frequency < high)
        f = frequency[band]
        expected = alone * ice.structure_factor(f) * ice.lasting_share(f, 40.0)
        assert power[band].mean() == pytest.approx(expected.mean(), rel=0.05)
    assert interaction(300.0) == pytest.approx(6.526e-4, rel=1e-3)
    assert interaction(200.0) == pytest.approx(7.288e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("volume", "micrograph"), [(3.54, 1.77), (1.5, 1.5), (1.06, 1.37), (2.0, 1.7)]
)
def test_boxes_keep_the_size_of_the_molecule(volume, micrograph):
    """Volume and patch span the same length at their own pixels."""
    side, box = sides(150.0, volume, micrograph, 128)
    assert side % 2 == box % 2 == 0
    assert box * micrograph / (side * volume) == pytest.approx(1, abs=1e-3)
    assert side * volume > 150


def test_maps_are_brought_to_the_pixels_of_the_micrograph(tmp_path):
    """A map at half the sampling gives the same particle, and its own pixel size by default."""
    from apbc.io.volumes import write_volume
    from apbc.preprocess.binning import crop_spectrum

    fine = load_structures((), ["hinge:20"], 2.0, 96, 8.0)[0].volume
    spectrum = crop_spectrum(scipy.fft.rfftn(fine.data), (96,) * 3, (48,) * 3)
    write_volume(tmp_path / "fine.mrc", fine.data, 2.0)
    write_volume(tmp_path / "coarse.mrc", scipy.fft.irfftn(spectrum, s=(48,) * 3), 4.0)
    angles = np.array([30.0, 60.0, 10.0])
    patches = []
    for name in ("fine", "coarse"):
        known = ParticleModel(load_structures([tmp_path / f"{name}.mrc"])[0], 2.0)
        patch, _ = known.patch(known.projector(), angles, (0.0, 0.0))
        middle = known.box // 2
        patches.append(patch[middle - 32 : middle + 32, middle - 32 : middle + 32])
    assert np.corrcoef(patches[0].ravel(), patches[1].ravel())[0, 1] > 0.98
    assert patches[1].sum() == pytest.approx(patches[0].sum(), rel=0.1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", 60, 512], "too small"),
        (["--size", 70, 70, "--pixel-size", 2], "larger than a micrograph"),
        (["--particles", 4000], "at most about"),
        (["--particles", 82, "--overlap", 0, "--clusters", 0], "of 82 particles found a place"),
        (["--particles", -1], "number of particles"),
        (["--dose", 0], "dose must be above 0"),
        (["--dose", "nan"], "dose must be above 0"),
        (["--pixel-size", 0], "pixel size"),
        (["--defocus", 20000, 10000], "defocus"),
        (["--views", "sideways"], "views"),
        (["--detector", "film"], "no detector"),
        (["--carbon", 2], "share from 0 to 1"),
        (["--gold", -1], "0 or more"),
        (["--overlap", 0.7, "--clusters", 0.7], "exceed 1"),
        (["--tilt", 85], "tilt"),
        (["--threads", -2], "threads"),
        (["--threads", 0], "threads"),
        (["--resolution", "nan"], "resolution must be above 0"),
        (["--micrographs", 0], "1 or more"),
        (["--seed", -1], "seed"),
    ],
)
def test_bad_input_is_told_in_a_sentence(tmp_path, capsys, words, said):
    simulate(tmp_path / "out", *COMMON, "--particles", 5, *words, expect=1)
    error = capsys.readouterr().err
    assert error.count("apbc: error:") == 1 and said in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x,y\n10,20\n700,20\n", "row 2: 700, 20"),
        ("x,y\n10,nan\n", "not a finite number"),
        ("x,y,class\n10,20,3\n", "there are 1 structures"),
        ("x,z\n10,20\n", "no column y"),
    ],
)
def test_bad_coordinates(tmp_path, capsys, content, said):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "m.csv").write_text(content)
    simulate(tmp_path / "out", *COMMON, "--coordinates", tmp_path / "given", expect=1)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_coordinates_that_are_not_there(tmp_path, capsys):
    simulate(tmp_path / "out", *COMMON, "--coordinates", tmp_path / "nowhere", expect=1)
    assert f"there is no file or folder {tmp_path / 'nowhere'}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unknown_contamination_and_strange_folders(tmp_path):
    with pytest.raises(ApbcError, match="no contamination 'dust'"):
        contamination({"dust": 1.0})
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "simulation.json").write_text('{"kind": "particles"}')
    with pytest.raises(ApbcError, match="holds simulated particles; choose another folder"):
        check_request(tmp_path / "stack", {})
    (tmp_path / "out" / "micrographs").mkdir(parents=True)
    structures = load_structures((), ["globule"], PIXEL_SIZE)
    with pytest.raises(ApbcError, match="exists already"):
        simulate_micrographs(
            tmp_path / "out", structures, Settings(PIXEL_SIZE, (LEAST_SIDE * 2,) * 2), 1
        )


@pytest.mark.skipif(shutil.which("relion_autopick") is None, reason="needs RELION")
def test_relion_finds_the_particles_where_the_truth_has_them(tmp_path: Path) -> None:
    """RELION's blob finder agrees with the truth, and not with the truth upside down."""
    out = tmp_path / "set"
    size = ["--size", 1024, 960]
    simulate(out, *COMMON[:4], *size, "--particles", 80, "--micrographs", 1, "--no-carbon")
    words = "--i micrographs_ctf.star --odir picks/ --pickname log --LoG --LoG_diam_min 120"
    subprocess.run(
        ["relion_autopick", *words.split(), "--LoG_diam_max", "175", "--lowpass", "20"],
        cwd=out,
        check=True,
        capture_output=True,
    )
    picks = read_coordinates(out / "picks" / "micrographs" / "sim0_0001_log.star")[:, :2]
    centres, columns = truth_of(out, "sim0_0001")
    seen = centres[columns["visible"] == 1]
    reach = 0.25 * 170 / PIXEL_SIZE
    distance, nearest = cKDTree(picks).query(seen)
    hits = distance < reach
    assert hits.mean() > 0.85
    assert np.abs(np.median((picks[nearest] - seen)[hits], axis=0)).max() < 1
    upside_down = np.stack([seen[:, 0], 1023 - seen[:, 1]], axis=1)
    assert (cKDTree(picks).query(upside_down)[0] < reach).mean() < 0.4
