"""Build, test and deploy the project. `./nox -l` lists the sessions."""

import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
# Sessions share environments, which `install` creates.
nox.options.default_venv_backend = "none"
# On SIGTERM, end like on Ctrl-C: interrupt the command of the session, and wait for its clean-up.
signal.signal(signal.SIGTERM, signal.default_int_handler)
nox.options.sessions = ["tests", "lint", "types", "imports", "docs"]

ROOT = Path(__file__).parent
PATH = os.environ["PATH"]
SOURCE_PATHS = ["infra", "layer", "functions", "."]
REQUIREMENTS = ("layer", "emulator", "local", "operator", "dev", "bench", "lint", "docs")
WITH_OPERATOR = ("operator", "dev", "bench")
WORKFLOW_SCHEMAS = {
    "github-workflows": "workflows/*.yml",
    "github-issue-forms": "ISSUE_TEMPLATE/[!c]*.yml",
    "github-issue-config": "ISSUE_TEMPLATE/config.yml",
    "dependabot": "dependabot.yml",
}
"""Files below .github/, by the schema that they must match."""


def install(session: nox.Session, requirements: str) -> Path:
    """Return the environment .nox/{requirements}. Create it unless it has exactly the locked requirements."""
    environment, locked = ROOT / ".nox" / requirements, ROOT / "requirements" / f"{requirements}.txt"
    # This copy is written last, so an interrupted installation is repeated.
    installed = environment / "installed.txt"
    with environment.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (installed.exists() and installed.read_bytes() == locked.read_bytes()):
            uv, options = [sys.executable, "-m", "uv"], ["--quiet", "--python"]
            session.run_install(*uv, "venv", "--clear", *options, sys.executable, environment, stderr=sys.stderr)
            options += [environment, "--require-hashes", "--requirement", locked]
            session.run_install(*uv, "pip", "install", *options, stderr=sys.stderr)
            shutil.copyfile(locked, installed)
    return environment


def prepare(session: nox.Session, requirements: str) -> Path:
    """Install the locked requirements, put their programs on the PATH, and make the source importable."""
    environment = install(session, requirements)
    os.environ["PATH"] = f"{environment / 'bin'}{os.pathsep}{PATH}"
    # uv does not compile what it installs. Python compiles a module at its first import, and must keep the result.
    session.env["PYTHONDONTWRITEBYTECODE"] = None
    session.env["PYTHONPATH"] = ":".join(str(ROOT / path) for path in SOURCE_PATHS)
    session.env["YORUTSUKE_EMULATOR_PYTHON"] = str(ROOT / ".nox" / "emulator" / "bin" / "python")
    return environment


def run_local(session: nox.Session, command: str) -> None:
    """Run a command of the local stage, which stops its emulator when it is interrupted."""
    # Python prints a traceback if Ctrl-C arrives during its own start, so the shell starts it with Ctrl-C ignored. nox
    # sends SIGTERM 0.3 seconds after Ctrl-C, and without the option SIGKILL 0.2 seconds later.
    shell = ["sh", "-c", 'trap "" INT; exec python -m local "$@"', "sh"]
    # With --json, standard output holds the JSON object only.
    session.run(*shell, command, *session.posargs, stderr=sys.stderr, terminate_timeout=None)


@nox.session
def emulator(session: nox.Session) -> None:
    """Install the emulator, which other sessions require."""
    install(session, "emulator")


@nox.session(requires=["emulator"])
def demo(session: nox.Session) -> None:
    """Run the pipeline on the emulator. [-- OPTIONS, which -- --help lists]"""
    prepare(session, "local")
    run_local(session, "demo")


@nox.session(requires=["emulator"])
def serve(session: nox.Session) -> None:
    """Run an empty emulator for the Pulumi CLI. [-- --port N]"""
    prepare(session, "local")
    run_local(session, "serve")


@nox.session
def yorutsuke(session: nox.Session) -> None:
    """Run the operator's command. -- COMMAND --stage STAGE"""
    prepare(session, "operator")
    # With --json, standard output holds the JSON object only.
    session.run("python", "-m", "yorutsuke", *session.posargs, stderr=sys.stderr)


@nox.session(requires=["emulator"])
def tests(session: nox.Session) -> None:
    """Run every test. [-- pytest's arguments]"""
    prepare(session, "dev")
    # Tests on the emulator often wait. One worker more than the number of processors keeps all processors busy.
    workers = str((os.cpu_count() or 1) + 1)
    session.run("python", "-m", "pytest", "--numprocesses", workers, "--no-loadscope-reorder", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Test the handler against crashes, throttling and duplicates. [-- --schedules N, --seed N, --only NAME, --json]"""
    prepare(session, "dev")
    session.run("python", "-m", "tests.faults", *session.posargs, stderr=sys.stderr)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Parse a million hostile records. [-- --lines N, --seed N, --json]"""
    prepare(session, "dev")
    session.run("python", "-m", "tests.fuzz", *session.posargs, stderr=sys.stderr)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the functions on a modelled AWS. [-- --plot FILE, --json]"""
    prepare(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs, stderr=sys.stderr)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, prose and workflows. [-- --fix]"""
    prepare(session, "lint")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]))
    session.run("python", "-m", "tests.prose")
    for schema, files in WORKFLOW_SCHEMAS.items():
        found = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(f".github/{files}"))]
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *found)
    # Security of the workflows.
    session.run("zizmor", "--offline", "--strict-collection", "--quiet", ".github")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    environment = prepare(session, "bench")
    # Without the option, basedpyright prefers an environment `.venv`.
    session.run("basedpyright", "--pythonpath", environment / "bin" / "python", *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """Check the import contracts."""
    prepare(session, "lint")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into dist/docs/, and check its links. [-- --serve]"""
    prepare(session, "docs")
    # Rebuild every page: an unchanged page may link to a changed one.
    options = ["--fresh-env", "--write-all", "--doctree-dir", session.create_tmp(), "--conf-dir", "docs"]
    session.run("sphinx-build", *options, "--fail-on-warning", "--keep-going", "--quiet", ".", "dist/docs")
    session.log("the site: dist/docs/index.html")
    if "--serve" in session.posargs:
        # Port 0 selects a free port, which the server prints.
        session.run("python", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", "dist/docs")


@nox.session
def build(session: nox.Session) -> None:
    """Build layer and functions into dist/. [-- STAGE --python 3.13 --arch arm64]"""
    prepare(session, "local")
    session.run("python", "-m", "yorutsuke_infra.build", *session.posargs)


@nox.session
def preview(session: nox.Session) -> None:
    """Preview a deployment. -- STAGE [the Pulumi CLI's arguments]"""
    prepare(session, "local")
    session.run("python", "-m", "yorutsuke_infra.deployment", "preview", *session.posargs)


@nox.session
def deploy(session: nox.Session) -> None:
    """Build and deploy a stage. -- STAGE [the Pulumi CLI's arguments]"""
    prepare(session, "local")
    session.run("python", "-m", "yorutsuke_infra.deployment", "deploy", *session.posargs)


@nox.session
def destroy(session: nox.Session) -> None:
    """Remove a stage, unless it is protected. -- STAGE [the Pulumi CLI's arguments]"""
    prepare(session, "local")
    session.run("python", "-m", "yorutsuke_infra.deployment", "destroy", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Lock the requirements with hashes, and keep locked versions. [-- --upgrade]"""
    for name in REQUIREMENTS:
        options = ["--universal", "--python-version", "3.11", "--generate-hashes", *session.posargs]
        options += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet"]
        # pyproject.toml lists the requirements of the operator's command, which other environments also run.
        sources = ["pyproject.toml"] if name in WITH_OPERATOR else []
        sources += [f"requirements/{name}.in"] if name != "operator" else ["--constraints", "requirements/layer.txt"]
        options += [*sources, "--output-file", f"requirements/{name}.txt"]
        session.run(sys.executable, "-m", "uv", "pip", "compile", *options)
