"""The one preprocessing of apbc: what training sees is what picking sees."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from apbc import geometry
from apbc.errors import ApbcError
from apbc.preprocess.binning import fourier_resample, resampled_shape
from apbc.preprocess.normalise import high_pass, normalise

if TYPE_CHECKING:
    from apbc.io.ctf import Ctf

FloatImage = npt.NDArray[np.float32]

CONTRASTS = ("dark", "light")


@dataclass(frozen=True)
class Preprocessing:
    """How a micrograph becomes a working image; stored with data sets and models.

    Attributes
    ----------
    diameter : float
        Particle diameter in Å.
    diameter_pixels : int
        Diameter in pixels of the working image; it fixes the working pixel size.
    high_pass_sigma : float
        Gaussian of the high-pass, in diameters.
    clip : float
        Pixel values beyond this many robust deviations are cut.
    contrast : {"dark", "light"}
        Whether protein is darker or lighter than ice in the micrographs. In the
        working image it is always dark.
    phase_flipped : bool
        Whether the phases were flipped with the CTF of each micrograph.
    """

    diameter: float
    diameter_pixels: int = 28
    high_pass_sigma: float = 1.0
    clip: float = 6.0
    contrast: str = "dark"
    phase_flipped: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not (np.isfinite(self.diameter) and self.diameter > 0):
            raise ApbcError(
                f"The particle diameter is {self.diameter} Å; give one above 0 with --diameter."
            )
        if self.contrast not in CONTRASTS:
            raise ApbcError(f"The contrast is {self.contrast!r}; it must be one of {CONTRASTS}.")

    @property
    def pixel_size(self) -> float:
        """Working pixel size in Å."""
        return self.diameter / self.diameter_pixels

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """Inverse of `to_dict`.

        Raises
        ------
        ApbcError
            If a field is missing or unknown.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ApbcError(
                f"The stored preprocessing does not fit this version of apbc ({error}); "
                "make the data set or the model again."
            ) from error

    def working_image(
        self, image: FloatImage, pixel_size: float, ctf: Ctf | None = None
    ) -> WorkingImage:
        """Bring a micrograph to working scale.

        Parameters
        ----------
        image : ndarray of float32, shape (rows, cols)
            Micrograph.
        pixel_size : float
            Å per pixel of `image`.
        ctf : Ctf, optional
            Needed when phases are flipped.

        Returns
        -------
        WorkingImage

        Raises
        ------
        ApbcError
            If the phases are to be flipped and no CTF is given.
        """
        rows, cols = image.shape
        shape = resampled_shape((rows, cols), pixel_size, self.pixel_size)
        pixels = fourier_resample(image, shape)
        if self.phase_flipped:
            if ctf is None:
                raise ApbcError(
                    "The CTF of the micrograph is not known but phases are to be flipped; "
                    "give --ctf with a star file that lists it."
                )
            from apbc.preprocess.ctf import phase_flip

            pixels = phase_flip(pixels, self.pixel_size, ctf)
        pixels = high_pass(pixels, self.high_pass_sigma * self.diameter_pixels)
        pixels = normalise(pixels, self.clip)
        if self.contrast == "light":
            pixels = -pixels
        scale = (shape[1] / cols, shape[0] / rows)
        return WorkingImage(pixels, scale)


@dataclass(frozen=True)
class WorkingImage:
    """A micrograph at working scale.

    Attributes
    ----------
    pixels : ndarray of float32, shape (rows, cols)
        Zero median, unit robust deviation, protein dark.
    scale : (float, float)
        Working pixels per micrograph pixel along x and y.
    """

    pixels: FloatImage
    scale: tuple[float, float]

    def to_working(self, coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Working pixels of micrograph pixels, shape (n, 2)."""
        return geometry.rescale(coordinates, self.scale)

    def to_micrograph(self, coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Micrograph pixels of working pixels, shape (n, 2)."""
        return geometry.rescale(coordinates, (1 / self.scale[0], 1 / self.scale[1]))
