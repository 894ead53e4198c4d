"""Take every picture of the documentation, from the windows themselves, under Xvfb.

    . scripts/env.sh; python scripts/screenshots.py            # docs/images, simulated micrographs
    . scripts/env.sh; python scripts/screenshots.py --data DIR # screenshots/, your micrographs

The project is that of the demo (``python -m apbc_scipion.demo``), which is run first; it stays in
``screenshots/`` and is used again until --fresh. DIR is a folder as the demo takes it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "screenshots"
IMAGES = REPOSITORY / "docs" / "images"
BORDER, TITLE, MENU = 1, 20, 29  # pixels of the window manager's frame, or of a menu


def run_demo(folder, arguments):
    """Run the demo, whose project is looked at."""
    if arguments.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    if (folder / "project" / "project.sqlite").exists() and (folder / "overlay.png").exists():
        sys.stdout.write(f"the project in {folder} is used again; --fresh makes it anew\n")
        return
    words = [sys.executable, "-m", "apbc_scipion.demo", "--out", str(folder)]
    if arguments.data:
        words += ["--data", str(arguments.data)]
    subprocess.run([*words, *arguments.demo], check=True)


class Photographer:
    """Opens windows of a project and takes their pictures.

    Parameters
    ----------
    folder : Path
        Of the demo.
    out : Path
        Where the pictures go.
    """

    def __init__(self, folder, out):
        import pyworkflow

        pyworkflow.Config.setDomain("pwem")
        import pyworkflow.gui.project  # the form is not imported without it
        from pyworkflow.gui import Window
        from pyworkflow.project import Project

        from apbc_scipion.tests import screen

        screen.need_screen()
        self.screen = screen
        self.domain = pyworkflow.Config.getDomain()
        self.domain.getProtocols()
        self.project = Project(self.domain, str(folder / "project"))
        self.project.load()
        self.main = Window("main")
        self.out = out
        out.mkdir(parents=True, exist_ok=True)

    def find(self, name, label=None):
        """Last run of a protocol class."""
        found = [
            run
            for run in self.project.getRuns()
            if run.getClassName() == name and label in (None, run.getObjLabel())
        ]
        return found[-1] if found else None

    def rest(self, window, seconds=0.6):
        """Let a window come to rest."""
        busy = getattr(window, "isBusy", lambda: False)
        self.screen.pump(window, until=lambda: not busy(), seconds=60)
        end = time.time() + seconds
        while time.time() < end:
            window.root.update()
            time.sleep(0.02)

    def take(self, window, name):
        """Write the picture of a window with its frame."""
        from PIL import ImageGrab

        root = window.root
        root.lift()
        self.rest(window)
        above = MENU if root.cget("menu") else TITLE
        left, top = root.winfo_rootx() - BORDER, root.winfo_rooty() - above
        box = (
            max(0, left),
            max(0, top),
            root.winfo_rootx() + root.winfo_width() + BORDER,
            root.winfo_rooty() + root.winfo_height() + BORDER,
        )
        picture = ImageGrab.grab(bbox=box, xdisplay=os.environ["DISPLAY"]).convert("RGB")
        path = self.out / f"{name}.png"
        picture.save(path, optimize=True)
        sys.stdout.write(f"wrote {path.relative_to(REPOSITORY)}\n")

    def show(self, window, width, height, x=40, y=40):
        """Put a window of a size on the screen."""
        window.root.geometry(f"{width}x{height}+{x}+{y}")
        window.root.deiconify()
        self.screen.pump(window, until=window.root.winfo_viewable)
        self.rest(window)
        return window

    def viewer(self, protocol):
        """Window of the first viewer of a protocol."""
        viewer = self.domain.findViewers(protocol, "tkinter")[0]
        return viewer(project=self.project, protocol=protocol, parent=self.main).makeWindow(
            protocol
        )

    # ------------------------------- pictures --------------------------------------
    def picks(self):
        """Show picks, the score map, and the comparison with the truth."""
        window = self.show(self.viewer(self.find("ApbcProtPick")), 1280, 800)
        window.step(1)
        self.take(window, "picks_viewer")
        window._toggleMap()
        self.take(window, "picks_score_map")
        window.close()
        evaluate = self.find("ApbcProtEvaluate")
        if evaluate is not None:
            window = self.show(self.viewer(evaluate), 1280, 800)
            self.take(window, "picks_evaluation")
            window.close()

    def training(self):
        """Curves, figures and crops of the training."""
        window = self.show(self.viewer(self.find("ApbcProtTrain")), 1180, 760)
        for number, name in enumerate(("curves", "figures", "crops")):
            window.tabs.select(number)
            self.rest(window)
            if name == "crops":
                window.select(0)
            self.take(window, f"training_{name}")
        window.close()

    def form(self, protocol, name, width, height):
        """Form of a protocol; returns it."""
        from pyworkflow.gui.form import FormWindow

        form = FormWindow("Protocol Run: " + name, protocol, lambda *_: None, self.main)
        self.show(form, width, height)
        return form

    def wizards(self):
        """Forms and the windows that their wizards open."""
        dataset, pick = self.find("ApbcProtCreateTrainingSet"), self.find("ApbcProtPick")
        form = self.form(dataset, "create training set", 980, 640)
        self.take(form, "form_create_training_set")
        if dataset.inputClasses.get() is not None:
            self.wizard(form, "goodClasses", "class_chooser")
        self.wizard(form, "particleDiameter", "diameter_wizard")
        form.root.destroy()
        from pyworkflow.protocol import LEVEL_ADVANCED

        pick.expertLevel.set(LEVEL_ADVANCED)
        form = self.form(pick, "pick particles", 980, 640)
        self.take(form, "form_pick")
        self.wizard(form, "wantedBoxSize", "box_size_wizard")
        self.wizard(form, "threshold", "threshold_wizard")
        self.wizard(form, "gpuWizard", "gpu_wizard")
        form.root.destroy()

    def wizard(self, form, parameter, name):
        """Window that a wizard opens."""
        window = form.wizards[parameter]().makeWindow(form)
        window.root.geometry("+60+60")
        window.root.deiconify()
        self.screen.pump(window, until=window.root.winfo_viewable)
        self.take(window, name)
        window.close()

    def projectWindow(self):
        """Show Scipion's own window with the workflow, its picking run selected."""
        from tkinter import ttk

        from pyworkflow.gui.project import ProjectWindow

        settings = self.project.getSettings()
        settings.runSelection.clear()
        settings.runSelection.append(self.find("ApbcProtPick").getObjId())
        settings.write()
        window = ProjectWindow(self.project.getPath())
        window.root.attributes("-zoomed", False)
        self.show(window, 1440, 900, 20, 30)
        for widget in descendants(window.root):
            if isinstance(widget, ttk.PanedWindow):
                widget.sashpos(0, 600)
            elif isinstance(widget, ttk.Treeview):
                open_items(widget, ("Picking", "apbc model"))
        self.rest(window, 3)
        self.take(window, "project")


def descendants(widget):
    """Yield the widgets inside a widget."""
    for child in widget.winfo_children():
        yield child
        yield from descendants(child)


def open_items(tree, names, parent=""):
    """Open the items of a tree that have a name, and what they are in."""
    for item in tree.get_children(parent):
        if str(tree.item(item, "text")).strip() in names:
            tree.item(item, open=True)
        open_items(tree, names, item)


def main():
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with micrographs/, as the demo takes it")
    parser.add_argument("--fresh", action="store_true", help="run the demo anew")
    parser.add_argument("--only", nargs="+", help="picks, training, wizards, projectWindow")
    parser.add_argument("demo", nargs="*", help="options for the demo, behind --")
    arguments = parser.parse_args()
    folder = WORK / (arguments.data.resolve().name if arguments.data else "simulated")
    run_demo(folder, arguments)
    photographer = Photographer(folder, folder / "images" if arguments.data else IMAGES)
    for name in arguments.only or ("picks", "training", "wizards", "projectWindow"):
        getattr(photographer, name)()


if __name__ == "__main__":
    main()
