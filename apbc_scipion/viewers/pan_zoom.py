"""The wheel zooms a picture about the pointer, dragging moves it."""

STEP = 1.25


class PanZoom:
    """Zooming and moving of axes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    rested : callable, optional
        Called after every zoom and at the end of every move.
    drags : callable, optional
        Given a mouse event, tells whether it begins a move; default: the left button does.

    Attributes
    ----------
    limits : ((float, float), (float, float)) or None
        Of x and y; None where there is nothing to zoom.
    """

    def __init__(self, axes, rested=None, drags=None):
        self.axes = axes
        self.limits = None
        self._rested = rested
        self._drags = drags or (lambda event: event.button == 1)
        self._grabbed = None
        connect = axes.figure.canvas.mpl_connect
        connect("scroll_event", self._onScroll)
        connect("button_press_event", self._onPress)
        connect("motion_notify_event", self._onMotion)
        connect("button_release_event", self._onRelease)

    def set(self, across, up):
        """Show a part, such as the whole; each is (low, high)."""
        self.limits = tuple(across), tuple(up)
        self.apply()

    def apply(self):
        """Give the axes the limits again, after they were cleared."""
        if self.limits is not None:
            self.axes.set_xlim(*self.limits[0])
            self.axes.set_ylim(*self.limits[1])
            self.axes.figure.canvas.draw_idle()

    def zoom(self, factor, x, y):
        """Zoom about a point; a factor below 1 goes nearer."""
        if self.limits is None:
            return
        self.set(
            *(
                [centre + (limit - centre) * factor for limit in limits]
                for centre, limits in zip((x, y), self.limits)
            )
        )
        self._rest()

    def _rest(self):
        if self._rested is not None:
            self._rested()

    def _onScroll(self, event):
        if event.inaxes is self.axes:
            self.zoom(1 / STEP if event.button == "up" else STEP, event.xdata, event.ydata)

    def _onPress(self, event):
        if event.inaxes is self.axes and self.limits is not None and self._drags(event):
            self._grabbed = event.x, event.y, self.limits

    def _onMotion(self, event):
        if self._grabbed is None:
            return
        x, y, limits = self._grabbed
        size = self.axes.bbox
        moves = ((event.x - x) / size.width, (event.y - y) / size.height)
        self.set(
            *(
                [limit - move * (high - low) for limit in (low, high)]
                for move, (low, high) in zip(moves, limits)
            )
        )

    def _onRelease(self, event):
        if self._grabbed is not None:
            self._grabbed = None
            self._rest()
