"""What a malformed input of ``soloist prepare`` is, and the good tables that they are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.tables import AVAZU_COLUMNS, criteo_line

FRAPPE = "label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city"
SCHEMA = "label: y\ndense: [x]\ncategorical: [c]\n"
DENSE = "label: y\ndense: [{{name: x, {}}}]\n"


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """Files to write, the arguments to prepare them with, and what the one line has to say."""

    name: str
    says: str
    arguments: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write the files."""
        for name, content in self.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)


@dataclass(frozen=True, kw_only=True)
class Table:
    """How a reader's text files look: a header (or none) and a row with a given label."""

    reader: str
    file: str
    label: str
    header: str | None
    row: Callable[[object], str]
    arguments: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def good(self) -> list[str]:
        """Rows that can be prepared."""
        head = [self.header] if self.header else []
        return [*head, *(self.row(number % 2) for number in range(40))]

    def case(self, fault: str, says: str, content: bytes, name: str | None = None) -> Malformed:
        """Return the case of a file with this content."""
        file = name or self.file
        return Malformed(
            name=f"{self.reader}: {fault}",
            says=says,
            arguments=(self.reader, "--source", file, *self.arguments),
            files={file: content, **self.files},
        )


TABLES = (
    Table(
        reader="criteo",
        file="train.tsv",
        label="label",
        header=None,
        row=lambda label: criteo_line(label, [1], ["a"]),
    ),
    Table(
        reader="avazu",
        file="train.csv",
        label="click",
        header=",".join(AVAZU_COLUMNS),
        row=lambda label: f"1,{label},14102100" + ",x" * (len(AVAZU_COLUMNS) - 3),
    ),
    Table(
        reader="frappe",
        file="train.csv",
        label="label",
        header=FRAPPE,
        row=lambda label: f"{label}" + ",1" * 10,
        arguments=("--split", "fraction"),
    ),
    Table(
        reader="tabular",
        file="t.csv",
        label="y",
        header="y,x,c",
        row=lambda label: f"{label},1.5,a",
        arguments=("--schema", "s.yaml"),
        files={"s.yaml": SCHEMA.encode()},
    ),
)


def text(lines: list[str]) -> bytes:
    """Return lines as the content of a file."""
    return "".join(f"{line}\n" for line in lines).encode()
