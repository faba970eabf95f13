# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2026.10.20"]
# ///
"""The checks of this workspace: `uv run noxfile.py`, or `nox` where it is installed.

The first runs the default sessions two at a time on two processors, as `nox -j 2` does. They use
the Python that runs nox. On demand: `-s matrix` tests on every supported Python that is found here,
`-s isolation-full` all tests of each wheel, `-s "cuda-standin(full)"` all tests for CUDA without a
GPU. What follows `--` goes to pytest.

The sessions for CUDA are skipped where no driver is found, and their tests where no CUDA device is
available; NN_REQUIRE_CUDA=1 makes that a failure. NN_CUDA=12 or 13 chooses the CuPy to install; by
default the driver decides.
"""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.allow_parallel = True
# A Python that is not here is skipped, also where CI is set.
nox.options.error_on_missing_interpreters = False

# Each process would compile again all modules that it imports, and each one of pytest all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).resolve().parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
MANIFEST = nox.project.load_toml(ROOT / "pyproject.toml")
PACKAGES = [Path(member).name for member in MANIFEST["tool"]["uv"]["workspace"]["members"]]
DEVICES = ["cpu", "cuda"]
CUPY_OF_STANDIN = "cupy-cuda13x==14.2.*"
PARALLEL = ["-n", "auto", "--maxprocesses=4"]  # options of pytest-xdist
BY_MODULE = [*PARALLEL, "--dist=loadfile"]  # the tests of a module share what they compile
# What no version of a requirement changes: checks of the tables, tests of processes, and compiling
# for another processor, which takes long.
UNCHANGED = "test_case and (memory_layout or inputs_unchanged or recording or gradients)"
UNCHANGED += " or half_precision or test_crash or test_hostile or test_workers"
# Checks of the values in a table, and modules of nn-kernels that compile one kernel of each kind.
VALUES = "test_case and (forward or implementations or trajectory)"
KINDS_OF_KERNELS = ["compile", "generated", "matmul", "package", "rows", "softmax"]
SKIPS_WITHOUT_PYTORCH = "pytest.importorskip('torch", "pytest.importorskip('transformers"
# Kernels are in the tables of their packages; those of nn-tensor have one of their own.
TABLE_WITHOUT_KERNELS = "packages/nn-tensor/tests/test_cases.py"
TESTS_OF_KERNELS = [
    "packages/nn-tensor/tests/test_kernels.py",
    "packages/nn-transformer/tests/test_scaled_dot_product_attention.py",
]
NVRTC = ["nvidia-cuda-nvrtc==13.*", "nvidia-cuda-runtime==13.*"]

each_package = nox.parametrize("package", PACKAGES, ids=PACKAGES)
each_device = nox.parametrize("device", DEVICES, ids=DEVICES)
each_resolution = nox.parametrize(
    "resolution", ["highest", "lowest-direct"], ids=["newest", "oldest"]
)


def group(name):
    """List the requirements of a dependency group."""
    return nox.project.dependency_groups(MANIFEST, name)


def compared_with(package):
    """List what the tests of a package compare with, or read, beside what all tests need."""
    manifest = nox.project.load_toml(ROOT / "packages" / package / "pyproject.toml")
    has_group = "test" in manifest.get("dependency-groups", {})
    return nox.project.dependency_groups(manifest, "test") if has_group else []


def pytest_options(packages, device):
    """Choose the device; without nn-tensor there is neither the plugin that knows it nor a need."""
    if "nn-tensor" in packages:
        return [f"--device={device}"]
    options = MANIFEST["tool"]["pytest"]["ini_options"]["addopts"]
    return ["-o", f"addopts={' '.join(options[: options.index('-p')])}"]


def parallel(package):
    """Choose the processes of tests; the one with a module of nn-kernels compiles its kernels."""
    return [*BY_MODULE, *(["--no-loadscope-reorder"] if package == "nn-kernels" else [])]


def with_siblings(package):
    """List the packages of the workspace that a package requires, itself last."""
    manifest = nox.project.load_toml(ROOT / "packages" / package / "pyproject.toml")
    names = [re.match(r"[\w-]+", text)[0] for text in manifest["project"]["dependencies"]]
    below = [below for name in names if name in PACKAGES for below in with_siblings(name)]
    return [*dict.fromkeys(below), package]


def editable(packages, extras=()):
    """Give the arguments that install packages from the tree, and extras of nn-tensor."""
    suffix = {"nn-tensor": f"[{','.join(extras)}]"} if extras else {}
    return [a for name in packages for a in ("-e", f"packages/{name}{suffix.get(name, '')}")]


def extras_for(device):
    """List the extras of nn-tensor that a device under test needs on this machine."""
    if device == "cpu":
        return ["fast"]
    version = os.environ.get("NN_CUDA")
    if not version and shutil.which("nvidia-smi"):
        answer = subprocess.run(["nvidia-smi"], capture_output=True, text=True, check=False)
        match = re.search(r"CUDA Version: (\d+)", answer.stdout)
        version = match and match[1]
    return [f"cuda{min(int(version), 13)}"] if version else []


def build_wheels(session, folder):
    """Build the wheel of each package without the sources of the others; return them by name."""
    wheels = Path(folder) / "wheels"
    session.run("uv", "build", "-q", "--all-packages", "--no-sources", "-o", str(wheels))
    return {path.name.split("-")[0].replace("_", "-"): path for path in wheels.glob("*.whl")}


def run_tests(session, packages, paths, device, *further):
    """Install packages from the tree and run tests on one device."""
    extras = extras_for(device)
    if device == "cuda" and not extras and os.environ.get("NN_REQUIRE_CUDA") != "1":
        session.skip("no driver for CUDA is found: neither nvidia-smi nor NN_CUDA names a version")
    session.install(*editable(packages, extras), *group("test"), *further)
    options = pytest_options(packages, device)
    session.run("python", "-m", "pytest", *paths, *options, *session.posargs)


def test_package(session, package, device):
    """Test a package on a device, installed with what it declares."""
    needed = with_siblings(package)
    if device != "cpu" and "nn-tensor" not in needed:
        session.skip(f"{package} computes on the CPU alone")
    further = [*group("parallel"), *compared_with(package)]
    processes = parallel(package) if device == "cpu" else []  # they would share one GPU's memory
    run_tests(session, needed, [*processes, f"packages/{package}/tests"], device, *further)


@nox.session(tags=["fast"])
def lint(session):
    """Check style, format, the manifests and the lengths of files."""
    session.install(*group("lint"))
    session.run("python", "tools/check_workspace.py")
    session.run("python", "tools/lines_of_code.py", "--check")
    session.run("python", "tools/check_language.py")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check", "--diff")


@nox.session(tags=["fast"])
def boundaries(session):
    """Hold the layers and the namespaces: who may import whom, and what packages show."""
    session.install(*group("boundaries"))
    sources = os.pathsep.join(str(ROOT / "packages" / name / "src") for name in PACKAGES)
    session.run("lint-imports", env={"PYTHONPATH": sources})
    session.run("python", "tools/import_each_first.py")
    session.run("python", "tools/check_namespaces.py")


@nox.session(tags=["fast"])
def types(session):
    """Check the types of the sources."""
    session.install(*group("types"))
    session.run("mypy", *(f"packages/{name}/src" for name in PACKAGES))


@nox.session(tags=["fast"])
def downstream(session):
    """Check with mypy and pyright, and run, a library that uses the wheels; and their own types."""
    session.install(*group("types"), *group("downstream"), *group("tabular"))
    with tempfile.TemporaryDirectory() as folder:
        wheels = build_wheels(session, folder)
        session.install("--force-reinstall", "--no-deps", *map(str, wheels.values()))
        session.run("python", "tools/type_completeness.py", *PACKAGES)
        shutil.copytree("tests-integration/downstream", Path(folder) / "downstream")
        session.chdir(Path(folder) / "downstream")  # away from the sources
        session.run("mypy", "src")
        session.run("pyright", "--pythonpath", shutil.which("python", path=session.bin), "src")
        session.run("python", "-m", "downstream.program", env={"PYTHONPATH": "src"})


@nox.session(tags=["fast"])
def tools(session):
    """Test the tools of this workspace themselves."""
    session.install(*editable(["nn-tensor"]), *group("tools"), *group("parallel"))
    session.run("python", "-m", "pytest", *PARALLEL, "tools/tests", *session.posargs)


@nox.session
def docs(session):
    """Build the pages and the API reference, with warnings as errors, and search them."""
    session.install(*editable(PACKAGES), *group("docs"), *group("tabular"))
    shutil.rmtree(ROOT / "docs" / "reference" / "generated", ignore_errors=True)
    strict = ["-q", "-E", "-W", "--keep-going", "-j", "auto"]
    session.run("sphinx-build", *strict, "docs", "docs/_build")
    session.run("python", "tools/check_pages.py", "docs/_build")
    session.run("python", "-m", "pytest", "tools/tests/test_reference.py", *session.posargs)


@nox.session
@each_device
@each_package
def tests(session, package, device):
    """Test a package on a device, installed with what it declares."""
    test_package(session, package, device)


@nox.session
@each_device
def integration(session, device):
    """Test the packages together on a device, and the examples."""
    parts = ("parallel", "examples", "figures", "translation", "serving")
    needed = [name for part in parts for name in group(part)]
    run_tests(session, PACKAGES, [*BY_MODULE, "tests-integration"], device, *needed)


def install_standin(session):
    """Install what runs the tests for CUDA without a GPU, or skip the session with the reason."""
    for program in ("g++", "as", "ld"):
        if shutil.which(program) is None:
            session.skip(f"{program} is not installed (packages g++ and binutils)")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        session.skip("the stand-in for CUDA is for Linux on x86-64")
    try:
        session.install(CUPY_OF_STANDIN)
    except nox.command.CommandFailed:
        session.skip(f"{CUPY_OF_STANDIN} cannot be had")
    needed = [name for part in ("test", "parallel", "examples") for name in group(part)]
    session.install(*editable(PACKAGES), *needed)


def run_on_standin(session, *paths, **env):
    """Run tests for CUDA on the stand-in."""
    command = ["python", "tools/cuda_on_cpu", "-m", "pytest", "--device=cuda", *paths]
    session.run(*command, *session.posargs, env=env)


@nox.session(name="cuda-standin")
def cuda_standin(session):
    """Test the stand-in for CUDA, and on it the budgets and every kernel against its reference.

    Each kernel is compiled for each dtype, which takes long: here in float32 and float16.
    """
    install_standin(session)
    run_on_standin(session, *PARALLEL, "tools/cuda_on_cpu/tests", "-m", "not slow")
    tables = {*ROOT.glob("packages/*/tests/test_cases.py")} - {ROOT / TABLE_WITHOUT_KERNELS}
    kernels = [*map(str, sorted(tables)), *TESTS_OF_KERNELS]
    run_on_standin(session, *PARALLEL, *kernels, "-k", "implementations and not float64")


@nox.session(name="cuda-standin(full)", default=False)
def cuda_standin_full(session):
    """Run all tests for CUDA on the stand-in, also with memory checking and other thread orders."""
    install_standin(session)
    settings = [{}, {"CUDA_ON_CPU_MEMCHECK": "1"}, {"CUDA_ON_CPU_ORDER": "reverse"}]
    settings += [{"CUDA_ON_CPU_ORDER": "random", "CUDA_ON_CPU_SEED": seed} for seed in "12"]
    for env in settings:
        run_on_standin(session, "packages", "tests-integration", **env)
    session.install(*NVRTC)
    session.run("python", "tools/cuda_on_cpu/nvrtc.py")
    run_on_standin(session, "tools/cuda_on_cpu/tests")


@nox.session
def snippets(session):
    """Run what README.md, the pages of docs/ and the docstrings show.

    A package's README runs with that package alone, in the session `isolation`.
    """
    needed = [name for part in ("test", "examples", "serving") for name in group(part)]
    session.install(*editable(PACKAGES), *needed)
    pages = sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)
    session.run("python", "tools/run_snippets.py", "--allow-none", "README.md", *map(str, pages))
    sources = [f"packages/{name}/src" for name in PACKAGES]
    session.run("python", "-m", "pytest", "--doctest-modules", *sources)


@nox.session
def examples(session):
    """Run the main example, shortened."""
    session.install(*editable(PACKAGES), *group("examples"))
    session.run("python", "docs/examples/digits.py", "--epochs", "1")


def needs_pytorch(node):
    """Return whether a node of a program's tree has a call that skips a test without PyTorch."""
    calls = [ast.unparse(n) for n in ast.walk(node) if isinstance(n, ast.Call)]
    return any(call.startswith(SKIPS_WITHOUT_PYTORCH) for call in calls)


def compared_with_pytorch(path):
    """List the tests of a module that need PyTorch, or the module if not only tests have calls."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in tree.body if needs_pytorch(node)]
    names = [getattr(node, "name", "") for node in found]
    if all(name.startswith(("test_", "Test")) for name in names):
        return [f"{path}::{name}" for name in names]
    return [str(path)]


@nox.session
def oracle(session):
    """Run the tests that compare with PyTorch, where pip finds a CPU build.

    The public index has no version with this suffix, so that no plain install brings the build
    for CUDA with its gigabytes: pip has to be told of a place that has it.
    """
    session.install("pip")
    try:
        session.run("python", "-m", "pip", "install", "-qqq", "--no-compile", "torch==2.13.0+cpu")
    except nox.command.CommandFailed:
        session.skip("pip finds no CPU build of PyTorch")
    modules = [*ROOT.glob("packages/*/tests/**/test_*.py")]
    modules += ROOT.glob("tests-integration/**/test_*.py")
    compared = [name for path in sorted(modules) for name in compared_with_pytorch(path)]
    needed = [*group("parallel"), *group("examples"), "transformers>=4.50"]
    run_tests(session, PACKAGES, [*PARALLEL, *compared], "cpu", *needed)
    rows = "packages/nn-tensor/tests/test_cases.py"  # of which each may name a function of PyTorch
    options = [*PARALLEL, *pytest_options(PACKAGES, "cpu")]
    session.run("python", "-m", "pytest", rows, "-k", "pytorch", *options, *session.posargs)


def check_wheels(session, resolution, choose, extras=(), env=None):
    """Test each wheel alone and outside the checkout, with the newest or oldest that it declares.

    Args:
        session: the session of nox.
        resolution: the one of uv.
        choose: a function that returns the tests of a package, with options of pytest; if there
            are none, the wheel is installed and imported, and its README run.
        extras: arguments of uv that choose extras of nn-tensor.
        env: variables of the environment for the tests.
    """
    session.install("uv")
    start = session.python or sys.executable
    with tempfile.TemporaryDirectory() as folder:
        built = build_wheels(session, folder)
        # The siblings come from here, and never from an index that has something of their name.
        ours = Path(folder) / "constraints.txt"
        ours.write_text("".join(f"{name} @ {path.as_uri()}\n" for name, path in built.items()))
        for package in PACKAGES:
            session.chdir(ROOT)
            source = Path("packages") / package
            home = Path(folder) / package
            session.run("uv", "venv", "-q", "-p", start, str(home / ".venv"))
            python = home / (".venv/Scripts/python.exe" if os.name == "nt" else ".venv/bin/python")
            isolated = [str(python), "-I"]
            install = ["uv", "pip", "install", "-q", "-p", str(python), "--no-sources"]
            # Only wheels: the oldest NumPy that a new Python can use is the oldest built for it.
            declared = ["-c", str(ours), "--only-binary", ":all:", "--resolution", resolution]
            declared += extras if package == "nn-tensor" else ()
            session.run(*install, *declared, str(built[package]), "-r", f"{source}/pyproject.toml")
            module = package.replace("-", "_")
            session.run(*isolated, "tools/import_check.py", module, external=True)
            session.run(*isolated, "tools/run_snippets.py", f"{source}/README.md", external=True)
            if not (chosen := choose(package)):
                continue
            session.run(*install, *group("test"), *group("parallel"))
            # without machine code beside the tests, whose modules had other names
            shutil.copytree(
                source / "tests", home / "tests", ignore=shutil.ignore_patterns("__pycache__")
            )
            session.chdir(home)
            settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(home)]
            settings += pytest_options(with_siblings(package), "cpu")
            pytest = [*isolated, "-m", "pytest", *settings, *chosen, *session.posargs]
            session.run(*pytest, external=True, env=env)


def tests_of_package(package):
    """List the tests of a package as such: what it imports, shows and leaves alone."""
    found = (ROOT / "packages" / package).glob("tests/test_package.py")
    return [f"tests/{path.name}" for path in found]


def tests_of_versions(package):
    """List the tests of a package that an old version of a requirement may change.

    Packages that compute with the operations of nn-tensor call NumPy through them: of those, the
    values of their tables are compared.
    """
    if package == "nn-kernels":
        return [f"tests/test_{name}.py" for name in KINDS_OF_KERNELS]
    has_table = (ROOT / "packages" / package / "tests" / "test_cases.py").exists()
    if has_table and package != "nn-tensor":
        return ["tests/test_cases.py", "-k", VALUES]
    return [*parallel(package), "tests", "-k", f"not ({UNCHANGED})"]


@nox.session
@each_resolution
def isolation(session, resolution):
    """Test each wheel alone, with the newest or oldest that it declares, where these matter.

    With the newest, the session `tests` has run all tests already: only those of a package as such
    are left. With the oldest, see `tests_of_versions`. The session `isolation-full` runs all.
    """
    if resolution == "highest":
        check_wheels(session, resolution, tests_of_package)
    else:
        few = {"NN_KERNELS_SHAPES": "5"}  # random ones: `tests` has run more
        check_wheels(session, resolution, tests_of_versions, env=few)


@nox.session(name="isolation-full", default=False)
@each_resolution
def isolation_full(session, resolution):
    """Run all tests of each wheel alone, with the newest or oldest that it declares."""
    extras = ["--extra", "fast"] if resolution != "highest" else []  # the oldest numba
    check_wheels(session, resolution, lambda package: [*parallel(package), "tests"], extras)


@nox.session(default=False)
def bench(session):
    """Compare the speed with PyTorch; what follows `--` goes to benchmarks/against_pytorch.py."""
    session.install(*editable(PACKAGES, ["fast"]), *group("benchmarks"))
    session.install("pip")
    try:
        session.run("python", "-m", "pip", "install", "-qqq", "--no-compile", "torch==2.13.0+cpu")
    except nox.command.CommandFailed:
        session.log("pip finds no CPU build of PyTorch: no comparison with it")
    native = dict.fromkeys(("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"))  # OpenBLAS chooses itself
    session.run("python", "benchmarks/against_pytorch.py", *session.posargs, env=native)


@nox.session(python=PYTHONS, default=False, download_python="never")
@each_device
@each_package
def matrix(session, package, device):
    """Test a package on a device, on every supported Python that is found here."""
    test_package(session, package, device)


if __name__ == "__main__":
    # Many sessions use one processor, or wait for a download or for the last of their tests.
    if not sys.argv[1:] and not extras_for("cuda"):  # they would share one GPU's memory
        sys.argv.append(f"--parallel={min(4, 1 + (os.cpu_count() or 1) // 2)}")
    nox.main()
