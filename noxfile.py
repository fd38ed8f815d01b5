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
REQUIREMENTS = ("nox", "layer", "emulator", "local", "operator", "dev", "bench", "lint", "docs")
WITH_OPERATOR = ("operator", "dev", "bench")
WORKFLOW_SCHEMAS = {
    "github-workflows": "workflows/*.yml",
    "github-issue-forms": "ISSUE_TEMPLATE/[!c]*.yml",
    "github-issue-config": "ISSUE_TEMPLATE/config.yml",
    "dependabot": "dependabot.yml",
}
"""Files below .github/, by the schema that they must match."""
INSTALLED = "installed.txt"
"""Name of the copy of the locked requirements in an environment."""
INSTALL_CLI = "Install the Pulumi CLI (https://www.pulumi.com/docs/install), then run this command again"


def install(session: nox.Session, requirements: str) -> Path:
    """Return the environment .nox/{requirements}. Create it unless it has exactly the locked requirements."""
    environment, locked = ROOT / ".nox" / requirements, ROOT / "requirements" / f"{requirements}.txt"
    with environment.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_complete(environment, locked):
            uv, options = [sys.executable, "-m", "uv"], ["--quiet", "--python"]
            session.run_install(*uv, "venv", "--clear", *options, sys.executable, environment, stderr=sys.stderr)
            options += [environment, "--require-hashes", "--requirement", locked]
            session.run_install(*uv, "pip", "install", *options, stderr=sys.stderr)
            shutil.copyfile(locked, environment / INSTALLED)
    return environment


def is_complete(environment: Path, locked: Path) -> bool:
    """Return whether an environment has the locked requirements. Their copy in it is written last."""
    installed = environment / INSTALLED
    return installed.exists() and installed.read_bytes() == locked.read_bytes()


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
    # With --json, standard output holds the JSON object only. After Ctrl-C, `smoke` removes its data.
    command = ["python", "-m", "yorutsuke", *session.posargs]
    # The commands that it suggests start like this one.
    session.env["YORUTSUKE_PROGRAM"] = "./nox -s yorutsuke --"
    session.run(*command, stderr=sys.stderr, interrupt_timeout=None, terminate_timeout=None)


@nox.session(requires=["emulator"])
def tests(session: nox.Session) -> None:
    """Run every test, except those of the session engine. [-- pytest's arguments]"""
    prepare(session, "dev")
    # Tests on the emulator often wait. One worker more than the number of processors keeps all processors busy.
    workers = str((os.cpu_count() or 1) + 1)
    options = ["--numprocesses", workers, "--no-loadscope-reorder", "--ignore", "tests/engine"]
    session.run("python", "-m", "pytest", *options, *session.posargs)


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


@nox.session(requires=["emulator"])
def engine(session: nox.Session) -> None:
    """Deploy onto the emulator with Pulumi's engine, and test it. [-- pytest's arguments]"""
    prepare(session, "dev")
    if not shutil.which("pulumi"):
        if not shutil.which("go"):
            session.error(f"neither the Pulumi CLI nor Go, which could build it, is on the PATH. {INSTALL_CLI}")
        built = ROOT / ".nox" / "pulumi"
        session.run("python", "tests/engine/build_cli.py", built)
        os.environ["PATH"] += f"{os.pathsep}{built}"
    session.run("python", "-m", "pytest", "tests/engine", *session.posargs)


def run_pulumi(session: nox.Session, action: str) -> None:
    """Preview, deploy or destroy a stage, in the environment of Pulumi.yaml."""
    if not shutil.which("pulumi"):
        session.error(f"the Pulumi CLI is not on the PATH. {INSTALL_CLI}")
    environment, locked = ROOT / ".venv", ROOT / "requirements" / "local.txt"
    if not is_complete(environment, locked):
        session.run("pulumi", "install")
        shutil.copyfile(locked, environment / INSTALLED)
    session.env["PYTHONPATH"] = f"{ROOT / 'infra'}:{ROOT / 'layer'}"
    session.run(environment / "bin" / "python", "-m", "yorutsuke_infra.deployment", action, *session.posargs)


@nox.session
def preview(session: nox.Session) -> None:
    """Preview a deployment. -- STAGE [the Pulumi CLI's arguments]"""
    run_pulumi(session, "preview")


@nox.session
def deploy(session: nox.Session) -> None:
    """Deploy a stage. -- STAGE [the Pulumi CLI's arguments]"""
    run_pulumi(session, "deploy")


@nox.session
def destroy(session: nox.Session) -> None:
    """Remove a stage, unless it is protected. -- STAGE [the Pulumi CLI's arguments]"""
    run_pulumi(session, "destroy")


@nox.session
def lock(session: nox.Session) -> None:
    """Lock the requirements with hashes, and keep locked versions. [-- --upgrade]"""
    for name in REQUIREMENTS:
        options = ["--universal", "--python-version", "3.11", "--generate-hashes", *session.posargs]
        options += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet"]
        # pyproject.toml lists the requirements of the operator's command, which other environments also run.
        sources = ["pyproject.toml"] if name in WITH_OPERATOR else []
        sources += [f"requirements/{name}.in"] if name != "operator" else ["--constraints", "requirements/local.txt"]
        options += [*sources, "--output-file", f"requirements/{name}.txt"]
        session.run(sys.executable, "-m", "uv", "pip", "compile", *options)
