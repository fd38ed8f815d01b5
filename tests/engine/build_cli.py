"""Builds the Pulumi CLI from the Go modules in cli/, for machines without the CLI.

Go stores the compiled packages, so only the first build takes minutes.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

MODULE = Path(__file__).with_name("cli")
SDK = "github.com/pulumi/pulumi/sdk/v3"
PACKAGES = ("github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", "./pulumi-language-python")
SCRIPT = "python/cmd/pulumi-language-python-exec"
REPORTED = 100
"""Number of compiled packages between two reports of the progress."""


def main(folder: Path) -> int:
    """Build the CLI and its language host into a folder. Return 1 if Go fails, after Go's own message."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # This also downloads the modules, without which Go does not name their folders.
        total = len(_go("list", "-deps", *PACKAGES).splitlines())
        version, source = _go("list", "-m", "-f", "{{.Version}} {{.Dir}}", SDK).split()
        _compile(folder, version, total)
    except subprocess.CalledProcessError as error:
        _report(
            f"Go could not build the Pulumi CLI in {MODULE} (exit status {error.returncode}). Its message is above."
        )
        return 1
    shutil.copy(Path(source) / SCRIPT, folder)
    return 0


def _go(*arguments: str) -> str:
    command = ["go", *arguments]
    return subprocess.run(command, cwd=MODULE, stdout=subprocess.PIPE, text=True, check=True).stdout


def _compile(folder: Path, version: str, total: int) -> None:
    """Compile the packages that changed, and report the progress. Raises CalledProcessError."""
    flags = f"-s -w -X {SDK}/go/common/version.Version={version}"
    command = ["go", "build", "-v", "-o", f"{folder}/", "-ldflags", flags, *PACKAGES]
    compiled = 0
    with subprocess.Popen(command, cwd=MODULE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            # Go prints the path of each package that it compiles, among other messages.
            if not re.fullmatch(r"\S+\n", line):
                _report(line.rstrip())
                continue
            compiled += 1
            if compiled % REPORTED == 0:
                _report(f"Compiled {compiled} of at most {total} packages.")
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
