"""A project whose folder of runs is moved."""

from pathlib import Path

from rig.pipeline import Project


class Moving(Project):
    """A project whose folder of runs is on a small disk, and may be moved on it."""

    moves = 0

    @property
    def out(self) -> Path:
        return self.folder / "disk" / f"out-{self.moves}"

    @property
    def runs(self) -> list[Path]:
        return sorted(self.out.glob("20*"))

    def move(self) -> None:
        """As a person does between two starts, where nothing runs any more."""
        if not self.runs or self.leftovers():
            return
        before, self.moves = self.out, self.moves + 1
        before.rename(self.out)
        written = self.config.read_text()
        self.config.write_text(written.replace(f"disk/{before.name}", f"disk/{self.out.name}"))
