"""How Sphinx makes the site from docs/, tutorials/ and docstrings: `make docs`."""

import importlib
import inspect
import re
import shutil
from pathlib import Path

import glmhmm_pyro

HERE = Path(__file__).parent

project = "glmhmm_pyro"
author = "the glmhmm_pyro developers"
version = release = glmhmm_pyro.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# Tutorials are shown as they were executed and tested; the code of these pages is
# executed here, so that they show what it prints and draws.
EXECUTED = ("tour",)
nb_execution_mode = "force"
nb_execution_excludepatterns = ["tutorials/*"]
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

autodoc_typehints = "none"
# What scikit-learn gives estimators for its own use.
_ROUTING = ", ".join(
    f"set_{method}_request" for method in ("fit", "predict", "predict_proba", "score")
)
autodoc_default_options = {"exclude-members": _ROUTING}
autodoc_member_order = "bysource"
autosummary_ignore_module_all = False
napoleon_custom_sections = [("Columns", "params_style")]
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "pydata_sphinx_theme"
html_title = "glmhmm_pyro"
html_show_sourcelink = False
# These pages have no others below them.
html_sidebars = {page: [] for page in ("index", "tour", "model", "maths")}
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}

# Rooms of public names, and what the reference calls them.
ROOMS = {
    "components": "Families, transitions, first states",
    "priors": "Priors",
    "covariates": "Covariates",
    "analysis": "Analyses",
    "plotting": "Pictures",
    "datasets": "Data sets",
    "importers": "What other programs have fitted",
    "inference": "Methods, fits and what they are made of",
    "optim": "The optimiser",
    "testing": "Checks of components of your own",
}


def setup(app):
    """What Sphinx reads beside the pages that are written by hand."""
    copy_tutorials()
    write_reference()
    app.connect("autodoc-process-docstring", escape_shapes)
    app.connect("source-read", make_executable)


def make_executable(app, page, source):
    """The code of some pages becomes cells, which are executed in their order."""
    if page in EXECUTED:
        head = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n"
        source[0] = head + source[0].replace("```python\n", "```{code-cell} python\n")


def escape_shapes(app, what, name, obj, options, lines):
    """Shapes such as (*batch, steps) begin no emphasis."""
    lines[:] = [re.sub(r"(?<=[(, ])\*(?=\w)(?!\w+\*)", r"\*", line) for line in lines]


def copy_tutorials():
    """Tutorials stand beside docs/, where Sphinx does not look."""
    for folder in ("tutorials", "tutorials/images"):
        (HERE / folder).mkdir(exist_ok=True)
        for path in (HERE.parent / folder).glob("*.*"):
            shutil.copy(path, HERE / folder / path.name)


def write_reference():
    """A page a room, of all its public names that are not at the top already."""
    (HERE / "reference").mkdir(exist_ok=True)
    at_top = public_names(glmhmm_pyro)
    pages = {"top": listed("glmhmm_pyro", "import glmhmm_pyro as gh", at_top)}
    for room, title in ROOMS.items():
        module = importlib.import_module(f"glmhmm_pyro.{room}")
        names = [n for n in public_names(module) if n not in at_top]
        pages[room] = listed(module.__name__, title, names)
    pages["index"] = "\n".join(
        ["Reference", "=" * 9, "", ".. toctree::", "   :maxdepth: 2", ""]
        + [f"   {page}" for page in pages]
        + [""]
    )
    for page, text in pages.items():
        (HERE / "reference" / f"{page}.rst").write_text(text, encoding="utf-8")


def public_names(module):
    """Names that a room has for its users, modules left out."""
    known = getattr(module, "__all__", None)
    if known is None:
        here = module.__name__
        known = [
            n for n, v in vars(module).items() if getattr(v, "__module__", 0) == here
        ]
    found = [n for n in known if not n.startswith("_")]
    return [n for n in found if not inspect.ismodule(getattr(module, n))]


def listed(module, title, names):
    """A page that lists names, each with a page of its own."""
    head = [title, "=" * len(title), "", f".. currentmodule:: {module}", ""]
    table = [".. autosummary::", "   :toctree: names", "   :nosignatures:", ""]
    return "\n".join(head + table + [f"   {name}" for name in names] + [""])
