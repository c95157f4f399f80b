"""The explorer in a real browser: it draws what bevel computes, and what it lets one copy is that function."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest
import torch
from browser import open_page, requests
from PIL import Image
from torch import Tensor

import bevel
from bevel_lab import explorer
from bevel_lab.cli import main

pytestmark = pytest.mark.process
SETTINGS = [
    *(f"f=leaky_relu(0.15)&kernel={name}&n=2" for name in bevel.KERNELS if name != "cauchy"),
    *(f"f=step&kernel={name}&n=3" for name in bevel.KERNELS),
    *(f"f=soft_shrink(0.7)&kernel={name}&n=500" for name in ("gaussian", "student", "bump", "logistic")),
    "f=hardtanh(low=-1,high=0.5)&kernel=laplace&n=0.5",
    "f=frelu(0.5,-0.25)&kernel=bump&n=20000&reach=0.0002",
    "f=custom&left=0.5&offset=-1&knots=-1.5,0.25&jumps=1,-2&steps=0.5,-1&kernel=biweight&n=4",
]
FORMS = ["exact", "published", "centred"]
DRAWN = """
  open(decodeURIComponent(arguments[0]));
  const {terms, ...columns} = app.drawn[arguments[1] || "a"];
  return JSON.stringify(columns);
"""


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The explorer, opened in the browser."""
    open_page(browser, explorer.write(tmp_path_factory.mktemp("explorer") / "explorer.html"), 1300)
    yield browser
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def _drawn(page: Any, state: str, which: str = "a") -> dict[str, Any]:
    columns = json.loads(page.execute_script(DRAWN, state, which))
    return {name: torch.tensor(c, dtype=torch.float64) if isinstance(c, list) else c for name, c in columns.items()}


def _smoothed(state: str) -> bevel.Mollification:
    """What the state says, made with bevel."""
    given = {key: values[0] for key, values in parse_qs(state).items()}
    f: Any = given["f"]
    if f == "custom":
        groups = {name: [float(v) for v in given[name].split(",")] for name in ("knots", "jumps", "steps")}
        f = bevel.PiecewiseLinear(float(given["left"]), float(given["offset"]), **groups)
    return bevel.mollify(f, given["kernel"], float(given["n"]))


def _close(drawn: Tensor, exact: Tensor, where: Tensor | None = None) -> None:
    off = (drawn - exact).abs()
    worst = float((off if where is None else off[where]).max())
    assert worst <= 1e-6 * float(exact.abs().max()), worst


@pytest.mark.parametrize("state", SETTINGS)
def test_it_draws_what_bevel_computes(page: Any, state: str) -> None:
    drawn, f = _drawn(page, state), _smoothed(state)
    x = drawn["xs"]
    v = torch.stack([(x - float(knot)).abs() * float(f.n) for knot in f.f.knots])
    at_jump = ((v - 1).abs() < 1e-9).any(0) | ((v < 1e-9).any(0) if f.f.has_steps else torch.zeros_like(x).bool())
    _close(drawn["value"], f(x))
    _close(drawn["error"], f(x) - f.f(x))
    _close(drawn["slope"], f.slope(x), ~at_jump)
    _close(drawn["curvature"], f.curvature(x), ~at_jump)
    u = drawn["kernelXs"] * float(f.n)
    _close(drawn["kernel"], float(f.n) * f.kernel.pdf(u), (u.abs() - 1).abs() > 1e-9)
    assert drawn["bound"] == pytest.approx(f.max_error)
    assert len(x) > 400
    assert float(drawn["error"].abs().max()) <= drawn["bound"] * (1 + 1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_it_draws_the_forms_of_sau(page: Any, form: str) -> None:
    from bevel._bound import error_bound
    from bevel.terms import at_channel

    drawn = _drawn(page, f"f=leaky_relu(0.3)&form={form}&kernel=gaussian&n=3")
    module = bevel.SAU(alpha=0.3, n=3.0, form=form, dtype=torch.float64)
    x = drawn["xs"].requires_grad_()
    y = module(x[:, None])[:, 0]
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    for name, exact in (("value", y), ("slope", slope), ("curvature", curvature)):
        _close(drawn[name], exact.detach())
    terms, n = at_channel(*module.coefficients(), 0)
    assert drawn["bound"] == pytest.approx(error_bound(terms, bevel.KERNELS["gaussian"], n))


@pytest.mark.parametrize(
    "spec",
    ["sau:n=5", "sau:n=2,form=centred", "smooth_frelu:positive=0.5,negative=0.25,kernel=box", "squareplus", "smelu",
     "mollified:f=hardtanh(0,2),kernel=cosine,n=3", "mollified:f=step,kernel=cauchy"],
)  # fmt: skip
def test_it_opens_at_an_activation(page: Any, spec: str) -> None:
    drawn = _drawn(page, explorer.start_of(spec))
    with torch.no_grad():
        _close(drawn["value"], bevel.create(spec).double()(drawn["xs"][:, None])[:, 0])


def _run(page: Any, script: str) -> Any:
    return page.execute_script(f"return {script}")


def test_what_it_lets_one_copy_is_what_it_draws(page: Any) -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    for state in (*SETTINGS[::4], SETTINGS[-1], *(f"f=leaky_relu(0.3)&form={form}&n=3" for form in FORMS)):
        drawn = _drawn(page, state)
        spec, python, link = (
            _run(page, f'document.getElementById("{name}").value') for name in ("spec", "python", "link")
        )
        made = eval(python, {"bevel": bevel})
        assert urlsplit(link).fragment
        again = _drawn(page, urlsplit(link).fragment)
        assert torch.equal(again["value"], drawn["value"])
        with torch.no_grad():
            values = made.double()(x[:, None])[:, 0] if isinstance(made, torch.nn.Module) else made(x)
            if "custom" in state:
                assert spec.startswith("none")
            else:
                torch.testing.assert_close(bevel.create(spec).double()(x[:, None])[:, 0], values, atol=1e-6, rtol=0)
        place = int((drawn["xs"] - 1).abs().argmin())
        if abs(float(drawn["xs"][place]) - 1) < 1e-9:
            assert float(drawn["value"][place]) == pytest.approx(float(values[40]), abs=1e-6)


def test_a_knot_is_dragged_and_moved_by_keys(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    _drawn(page, "f=relu&kernel=box&n=2")
    knot = page.find_element("css selector", ".knot")
    ActionChains(page).click_and_hold(knot).move_by_offset(120, 0).release().perform()
    moved = _run(page, "resolve(app.a).knots[0]")
    assert 0.5 < moved < 2
    assert _run(page, 'document.getElementById("function").value') == "custom"
    page.find_element("css selector", ".knot").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert _run(page, "resolve(app.a).knots[0]") == pytest.approx(moved + 0.2, abs=1e-3)
    drawn = _drawn(page, f"f=custom&left=0&offset=0&knots={moved}&jumps=1&steps=0&kernel=box&n=2")
    _close(drawn["value"], bevel.mollify(bevel.PiecewiseLinear(knots=[moved], jumps=[1.0]), "box", 2.0)(drawn["xs"]))


@pytest.fixture
def touched(page: Any) -> Iterator[Any]:
    """The explorer on a screen that is touched."""
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    yield page
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def _knot(page: Any, i: int = 0) -> tuple[float, float]:
    """Where the middle of a knot's handle is in the window."""
    box = f"document.querySelectorAll('.knot')[{i}].getBoundingClientRect()"
    page.execute_script(f"document.querySelectorAll('.knot')[{i}].scrollIntoView({{block: 'center'}})")
    x, y, width, height = _run(page, f"(({{x, y, width, height}}) => [x, y, width, height])({box})")
    return x + width / 2, y + height / 2


def _mouse(page: Any, kind: str, x: float, y: float, pressed: bool) -> None:
    at = {"type": kind, "x": x, "y": y, "button": "left", "buttons": int(pressed), "clickCount": 1}
    page.execute_cdp_cmd("Input.dispatchMouseEvent", at)


def _touch(page: Any, kind: str, *at: float) -> None:
    points = [dict(zip("xy", at, strict=True))] if at else []
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@pytest.mark.parametrize(
    ("state", "i"),
    [
        ("f=relu&kernel=box&n=2", 0),
        ("f=hardtanh(-1,1)&kernel=gaussian&n=2", 1),
        ("f=custom&left=0&offset=0&knots=1.2345&jumps=1&steps=0&n=500&reach=0.01", 0),
    ],
)
def test_a_dragged_knot_stays_under_the_pointer(page: Any, state: str, i: int) -> None:
    _drawn(page, state)
    x, y = _knot(page, i)
    _mouse(page, "mousePressed", x, y, pressed=True)
    for _ in range(12):
        x += 9
        _mouse(page, "mouseMoved", x, y, pressed=True)
        assert abs(_knot(page, i)[0] - x) <= 2
    _mouse(page, "mouseReleased", x, y, pressed=False)
    left = _run(page, "resolve(app.a).knots")
    _mouse(page, "mouseMoved", x - 80, y, pressed=False)
    assert _run(page, "resolve(app.a).knots") == left


def test_a_knot_is_dragged_by_a_finger_which_then_moves_nothing_elsewhere(touched: Any) -> None:
    _drawn(touched, "f=relu&kernel=box&n=2")
    x, y = _knot(touched)
    _touch(touched, "touchStart", x, y)
    x += 30
    _touch(touched, "touchMove", x, y)  # the first 15 pixels may still be a tap
    for _ in range(12):
        x, y = x + 9, y + 3
        _touch(touched, "touchMove", x, y)
        assert abs(_knot(touched)[0] - x) <= 2
    _touch(touched, "touchEnd")
    moved = _run(touched, "resolve(app.a).knots[0]")
    assert moved > 0.5
    _swipe_below(touched)
    assert _run(touched, "resolve(app.a).knots[0]") == moved


def test_a_drag_that_is_cut_off_is_at_its_end(touched: Any) -> None:
    """A call or a system's gesture cancels a touch: no pointerup comes."""
    _drawn(touched, "f=relu&kernel=box&n=2")
    x, y = _knot(touched)
    _touch(touched, "touchStart", x, y)
    _touch(touched, "touchMove", x + 30, y)
    _touch(touched, "touchMove", x + 60, y)
    _touch(touched, "touchCancel")
    moved = _run(touched, "resolve(app.a).knots[0]")
    assert moved > 0.2
    _swipe_below(touched)
    assert _run(touched, "resolve(app.a).knots[0]") == moved
    assert _run(touched, "app.drag") is None  # and the view is free again


def _swipe_below(page: Any) -> None:
    """A swipe over the panel of the slope, to the right."""
    x, y = _run(page, "(({x, y}) => [x + 80, y + 60])(document.getElementById('panel-slope').getBoundingClientRect())")
    _touch(page, "touchStart", x, y)
    for step in range(1, 9):
        _touch(page, "touchMove", x + 15 * step, y)
    _touch(page, "touchEnd")


def test_a_knot_between_close_neighbors_stays_between_them(page: Any) -> None:
    _drawn(page, "f=custom&left=0&offset=0&knots=0,0.001,0.002&jumps=1,1,1&steps=0,0,0&n=2&kernel=box")
    page.execute_script("moveKnot(1, 5)")
    assert _run(page, "resolve(app.a).knots") == [0, 0.001, 0.002]
    page.execute_script("moveKnot(0, 5)")
    knots = _run(page, "resolve(app.a).knots")
    assert knots == sorted(set(knots))


def test_two_settings_are_compared(page: Any) -> None:
    _drawn(page, "f=relu6&kernel=box&n=2")
    page.find_element("id", "compare").click()
    assert _run(page, "app.active") == "b"
    fragment = urlsplit(_run(page, 'document.getElementById("link").value')).fragment
    first, second = _drawn(page, fragment, "a"), _drawn(page, fragment, "b")
    assert float(first["bound"]) == 2 * float(second["bound"])
    assert len(page.find_elements("css selector", "#panel-value .curve.b")) == 2
    assert page.find_element("id", "which").is_displayed()
    page.find_element("id", "compare").click()
    assert not page.find_element("id", "which").is_displayed()


def test_controls_change_what_is_drawn(page: Any) -> None:
    from selenium.webdriver.support.select import Select

    _drawn(page, "f=leaky_relu(0.15)&kernel=gaussian&n=2")
    Select(page.find_element("id", "form")).select_by_value("centred")
    assert "centred" in _run(page, 'document.getElementById("spec").value')
    Select(page.find_element("id", "function")).select_by_value("step")
    Select(page.find_element("id", "kernel")).select_by_value("cauchy")
    assert _run(page, 'document.getElementById("spec").value') == "mollified:f=step,kernel=cauchy,n=2"
    Select(page.find_element("id", "function")).select_by_value("absolute")
    assert _run(page, "app.a.kernel") == "gaussian"  # Cauchy smooths steps only
    n = page.find_element("id", "n")
    n.clear()
    n.send_keys("7.5")
    assert _run(page, 'document.getElementById("python").value') == 'bevel.mollify("absolute", "gaussian", n=7.5)'


@pytest.mark.parametrize("wrong", ["f=nothing", "f=relu&n=-1", "f=relu&kernel=cauchy", "f=custom&knots=1,0&jumps=1,1"])
def test_a_link_that_cannot_be_read_opens_at_the_start(page: Any, wrong: str) -> None:
    _drawn(page, wrong)
    assert _run(page, "app.a.f") == "leaky_relu"


def _color(page: Any, variable: str) -> list[int]:
    """A color of the style sheet as three numbers."""
    text = _run(page, f"getComputedStyle(document.documentElement).getPropertyValue('{variable}')").strip("# ")
    return [int(part, 16) for part in ((2 * c for c in text) if len(text) == 3 else re.findall("..", text))]


def test_it_asks_for_nothing_fits_a_phone_and_is_dark_where_that_is_wanted(page: Any, tmp_path: Path) -> None:
    file = explorer.write(tmp_path / "explorer.html", "f=hardtanh(-1,1)&kernel=box&n=2")
    grounds = []
    for width, scheme in ((390, "light"), (390, "dark"), (1300, "light")):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        open_page(page, file, width)
        assert _run(page, "app.a.f") == "hardtanh"  # what the page was written for
        assert _run(page, "document.documentElement.scrollWidth") <= width
        assert all(_run(page, f"document.getElementById('panel-{name}').querySelectorAll('path').length") for name in
                   ("value", "slope", "curvature", "kernel", "error"))  # fmt: skip
        assert {urlsplit(url).scheme for url in requests(page)} <= {"file", "data"}
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(page.get_screenshot_as_base64()))).convert("RGB"))
        ground, curve = (_color(page, name) for name in ("--ground", "--a"))
        assert picture.shape[1] == width
        assert (picture[0, 0] == ground).all()
        assert (picture == curve).all(-1).sum() > 300, "a curve is seen, and not only drawn"
        grounds.append(tuple(ground))
    assert grounds[0] != grounds[1]
    controls = "[...document.querySelectorAll('input,select,button')]"
    assert not _run(page, f"{controls}.filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent))")


def test_the_command_opens_it_at_the_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["show", "sau:n=5", "--open"]) == 0
    written = Path(unquote(urlsplit(opened[0]).path))
    assert str(written) in capsys.readouterr().out
    assert 'data-start="f=leaky_relu(0.15)&amp;form=published&amp;kernel=gaussian&amp;n=5"' in written.read_text(
        encoding="utf-8"
    )
    assert main(["show", "gelu", "--open"]) == 2
    assert "kinked functions and their smoothings" in capsys.readouterr().err
