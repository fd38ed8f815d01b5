"""The picture of the resources in docs/resources.md: made from the program, and held against it."""

import argparse
import json
import sys
from collections.abc import Callable

from rich.console import Console

from yorutsuke_common.names import PROJECT
from yorutsuke_infra.config import CONFIG_KEY
from yorutsuke_infra.stage_file import ROOT

from .deployer import infra_program
from .diagram import diagram
from .errors import PictureError
from .mermaid import flowchart
from .recording import record

PICTURE = ROOT / "docs" / "resources.md"
STAGE = "dev"
TRIGGERS = ("sqs", "s3")
"""The one choice of a stage that changes what it consists of."""

PAGE = """\
# Resources

What a stage consists of, drawn from the program of `infra/` itself: `nox -s picture`.

A frame is a component; what nothing leads on from stands in a second frame of it. Small print in a box is what the
resource is set to. An arrow is a resource that joins two others (topic subscription), a property of the one that names
the other (redrive policy), or what the one may do to the other (s3:GetObject, on these paths). To what reads metrics it
leads from what they are of. What a function may is what its role may.
"""
SECTION = """
## With `trigger: {}`

```mermaid
{}
```
"""


def picture(declare: Callable[[], object] = infra_program) -> str:
    """Return the page. Raises PictureError."""
    return PAGE + "".join(SECTION.format(trigger, drawing(trigger, declare)) for trigger in TRIGGERS)


def drawing(trigger: str, declare: Callable[[], object] = infra_program) -> str:
    """Return the flowchart of a stage with a trigger. Raises PictureError."""
    return flowchart(diagram(STAGE, record(STAGE, _config(trigger), declare)))


def _config(trigger: str) -> dict[str, str]:
    """Return the config of a stage whose every other choice is at its default, whatever a stage's file says."""
    return {"aws:region": "ap-northeast-1", f"{PROJECT}:{CONFIG_KEY}": json.dumps({"trigger": trigger})}


def main() -> int:
    """Draw the resources of the Pulumi program into docs/resources.md."""
    parser = argparse.ArgumentParser(prog="nox -s picture --", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the file is not current")
    arguments = parser.parse_args()
    try:
        page = picture()
        if arguments.check:
            _require_current(page)
        else:
            PICTURE.write_text(page)
    except PictureError as error:
        Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(error)
        return 1
    return 0


def _require_current(page: str) -> None:
    if not PICTURE.exists() or PICTURE.read_text() != page:
        raise PictureError(
            f"docs/{PICTURE.name} is not what the program of infra/ gives: run nox -s picture, and commit it."
        )


if __name__ == "__main__":
    sys.exit(main())
