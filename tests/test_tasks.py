"""Tasks: laws of every file in the folder, the four cart-poles, labelled samples, and what is refused."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cartpole_cases
import vilfredo.spiking.tasks
from vilfredo.spec import names
from vilfredo.spiking import pole
from vilfredo.spiking.tasks import bars_and_stripes
from vilfredo.spiking.tasks.bars_and_stripes import BarsAndStripes
from vilfredo.spiking.tasks.classification import Samples
from vilfredo.spiking.tasks.logic import FUNCTIONS, Logic
from vilfredo.spiking.tasks.task import Classification, Control, kind
from vilfredo.spiking.tasks.xor import Xor

FOLDER = Path(str(vilfredo.spiking.tasks.__file__)).parent
HELPERS = {"__init__", "task", "classification", "bundled"}
KNOWN = names.known("task")
SKLEARN = {"iris", "wine", "breast_cancer", "digits"}


def made(name: str, **options: Any) -> Any:
    """The task of that file."""
    if name in SKLEARN:
        pytest.importorskip("sklearn")
    elif name not in ("bars_and_stripes", "logic", "xor"):
        pytest.importorskip("gymnasium")
    if name == "gymnasium":
        options = {"environment": "MountainCar-v0", **options}
    return names.find("task", name)(**options)


# -- every task -----------------------------------------------------------------------------------


def test_every_file_is_a_task() -> None:
    assert set(KNOWN) == {file.stem for file in FOLDER.glob("*.py")} - HELPERS


@pytest.mark.parametrize("name", KNOWN)
def test_every_task_is_what_it_says_and_survives_pickle(name: str) -> None:
    task = made(name)
    again = pickle.loads(pickle.dumps(task))
    assert kind(task) == kind(again)
    assert isinstance(task, Control if kind(task) == "control" else Classification)
    assert again.ranges == task.ranges
    assert task.name
    assert task.window == 24


@pytest.mark.parametrize("name", KNOWN)
def test_every_task_does_the_same_again(name: str) -> None:
    task, other = made(name), made(name)
    if kind(task) == "classification":
        for split in ("search", "test"):
            for one, two in zip(task.samples(split), other.samples(split), strict=True):
                assert np.array_equal(one, two)
        return
    for seed in (7, np.int64(2**40)):
        first = task.reset(seed)
        assert np.array_equal(first, other.reset(seed))
        assert first.shape == (len(task.ranges),)
        assert first.dtype == np.float64
        assert not np.array_equal(first, task.reset(8))
        task.reset(seed)
        for action in [0, task.actions - 1] * 4:
            one, two = task.step(action), other.step(action)
            assert np.array_equal(one[0], two[0])
            assert one[1:] == two[1:]
            assert type(one[1]) is float
            assert type(one[2]) is bool


@pytest.mark.parametrize(
    "name", [name for name in KNOWN if name not in SKLEARN | {"bars_and_stripes", "logic", "xor"}]
)
def test_an_episode_ends_after_its_steps(name: str) -> None:
    task = made(name, steps=5)
    for _ in range(2):
        task.reset(1)
        assert [task.step(0)[2] for _ in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize(
    "name", [name for name in KNOWN if name in SKLEARN | {"bars_and_stripes", "logic", "xor"}]
)
def test_samples_are_in_range_and_labels_are_classes(name: str) -> None:
    task = made(name)
    x, y = task.samples("search")
    low, high = np.array(task.ranges).T
    assert np.all((x >= low) & (x <= high))
    assert set(y.tolist()) == set(range(task.classes))
    assert np.all((x.min(axis=0) == low) & ((x.max(axis=0) == high) | (x.max(axis=0) == low)))
    with pytest.raises(ValueError, match="has the splits 'search' and 'test', not 'validation'"):
        task.samples("validation")


# -- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "use"), [(part, use) for part in ("task", "encoder", "decoder") for use in names.known(part)]
)
def test_every_part_and_its_options_are_on_the_page(part: str, use: str) -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "tasks.md"
    above = {"task": "Tasks", "encoder": "Encoders", "decoder": "Decoders"}[part]
    chapters = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)
    chapter = next(text for text in chapters if text.startswith(f"{above}\n"))
    sections = {text.partition("\n")[0]: text for text in chapter.split("\n### ")[1:]}
    assert f"`{use}`" in sections, f"docs/tasks.md has no section of the {part} {use}"
    if use in SKLEARN:
        pytest.importorskip("sklearn")
    elif part == "task" and use not in ("bars_and_stripes", "logic", "xor"):
        pytest.importorskip("gymnasium")
    for option in names.parameters(names.find(part, use)):
        assert f"`{option}`" in sections[f"`{use}`"], f"docs/tasks.md does not describe {option} of {use}"


# -- cart and pole --------------------------------------------------------------------------------


def test_starts_are_gymnasiums_and_the_papers() -> None:
    env = pytest.importorskip("gymnasium").make("CartPole-v1").unwrapped
    seeds = [0, 1, 99, 2**40]
    near = pole.starts(seeds, pole.SPREADS["gymnasium"])
    for seed, state in zip(seeds, near, strict=True):
        env.reset(seed=seed)
        assert np.array_equal(env.state, state)
    far = pole.starts(range(500))
    assert np.all(np.abs(far) <= pole.SPREADS["paper"])
    assert np.all(np.abs(far).max(axis=0) > 0.95 * np.array(pole.SPREADS["paper"]))
    assert pole.starts([]).shape == (0, 4)


@pytest.mark.parametrize("setting", pole.SETTINGS)
def test_a_cartpole_steps_as_gymnasiums_does(setting: str) -> None:
    env = pytest.importorskip("gymnasium").make("CartPole-v1").unwrapped
    task = made("cartpole", setting=setting, starts="gymnasium")
    forces = pole.SETTINGS[setting].forces
    rng = np.random.default_rng(3)
    for seed in range(5):
        env.reset(seed=seed)
        seen, over = task.reset(seed), False
        assert np.array_equal(seen, task.starts([seed])[0, list(task.setting.seen)])
        while not over:
            action = int(rng.integers(task.actions))
            env.force_mag = abs(forces[action])
            _, reward, fallen, _, _ = env.step(int(forces[action] > 0))
            seen, mine, over = task.step(action)
            assert (reward, fallen) == (mine, over)
            assert np.allclose(env.state, task.environment.state, rtol=1e-13, atol=1e-15)
            assert np.array_equal(seen, task.environment.state[list(task.setting.seen)])


def test_the_gymnasium_face_of_the_cartpole() -> None:
    task = made("cartpole", setting="medium")
    observation, facts = task.environment.reset(seed=4)
    assert observation.dtype == np.float32
    assert facts == {}
    state = task.environment.state.copy()
    task.environment.reset()  # without a seed it goes on, within the same bounds
    assert not np.array_equal(task.environment.state, state)
    assert np.all(np.abs(task.environment.state) <= task.spread)
    for _ in range(50):
        task.environment.reset(seed=5, options={"low": 0.01, "high": 0.02})
        assert np.all((task.environment.state >= 0.01) & (task.environment.state <= 0.02))
    assert task.environment.action_space.n == 3


@pytest.mark.parametrize("name", [name for name in cartpole_cases.CASES if int(name[-2:]) < 46])
def test_the_references_episodes_follow_the_same_physics(name: str) -> None:
    case = cartpole_cases.case(name)
    forces = case.setting.forces
    for before, action, after in zip(
        case.observations[:2000], case.actions, case.observations[1:], strict=False
    ):
        # Six digits are told; the spin of the pole is the most sensitive to them.
        assert np.allclose(pole.advance(*before, forces[action]), after, atol=1e-4)


def test_settings() -> None:
    table = {name: (len(s.seen), s.actions) for name, s in pole.SETTINGS.items()}
    assert table == {"easy": (4, 2), "medium": (4, 3), "hard": (2, 3), "hardest": (2, 2)}
    assert pole.SETTINGS["hard"].ranges == ((-2.4, 2.4), (-0.209, 0.209))
    for wrong, sentence in (
        ({"setting": "harder"}, "no setting 'harder'; known: easy, medium, hard, hardest"),
        ({"starts": "moon"}, "no starts 'moon'; known: paper, gymnasium"),
        ({"steps": 0}, "`steps` must be a whole number from 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            made("cartpole", **wrong)


# -- Gymnasium ------------------------------------------------------------------------------------


def test_any_environment_by_name_or_as_an_object() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    by_name = made("gymnasium", environment="Acrobot-v1", ranges=[(-30.0, 30.0)] * 6, steps=50)
    assert (by_name.actions, by_name.steps, by_name.success) == (3, 50, -100.0)
    by_object = made("gymnasium", environment=gymnasium.make("MountainCar-v0"))
    assert (by_object.actions, by_object.steps) == (3, 200)
    assert by_object.ranges[0] == pytest.approx((-1.2, 0.6))
    lake = made("gymnasium", environment="CliffWalking-v1", steps=9)
    assert lake.ranges == ((0.0, 47.0),)
    assert lake.reset(0).shape == (1,)


def test_somebodys_environment_that_gymnasium_has_no_name_for() -> None:
    gymnasium = pytest.importorskip("gymnasium")

    class Mine(gymnasium.Env):  # type: ignore[misc, name-defined]
        observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2, 2))
        action_space = gymnasium.spaces.Discrete(3, start=5)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return np.zeros((2, 2)), {}

        def step(self, action: Any) -> Any:
            return np.full((2, 2), action / 10), 2, False, False, {}

    task = made("gymnasium", environment=Mine(), steps=2)
    assert (task.name, task.actions, task.success) == ("Mine", 3, None)
    assert task.reset(0).tolist() == [0.0] * 4
    seen, reward, over = task.step(0)
    assert (seen.tolist(), reward, over) == ([0.5] * 4, 2.0, False)
    assert task.step(2)[2]
    with pytest.raises(ValueError, match="Mine has no limit of its own; say after how many `steps`"):
        made("gymnasium", environment=Mine())


def test_actions_of_a_continuous_environment_are_named() -> None:
    task = made("gymnasium", environment="MountainCarContinuous-v0", actions=[[-1.0], [0.0], [1.0]])
    assert task.actions == 3
    task.reset(0)
    assert task.step(2)[0].shape == (2,)
    pendulum = made("pendulum", levels=3)
    pendulum.reset(0)
    assert pendulum.actions == 3
    still = pendulum.environment.unwrapped.state.copy()
    reward = pendulum.step(1)[1]
    assert reward == pytest.approx(-(still[0] ** 2 + 0.1 * still[1] ** 2))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"environment": "Nothing-v0"}, "Gymnasium cannot make 'Nothing-v0'"),
        ({"environment": 3}, "an environment is a name or a gymnasium.Env, not int"),
        (
            {"environment": "CartPole-v1"},
            "number 1 of an observation of CartPole-v1 has no limits; give `ranges`",
        ),
        ({"ranges": [(0.0, 1.0)]}, "observes 2 numbers, there are 1 ranges"),
        ({"ranges": [(0.0, 1.0), (1.0, 1.0)]}, "from a number to a larger one, not 1.0 to 1.0"),
        ({"steps": 1.5}, "`steps` must be a whole number from 1"),
        ({"actions": [0]}, "at least 2 `actions`"),
        ({"actions": [0, 7]}, "the action 7 is not one of MountainCar-v0"),
        ({"environment": "Pendulum-v1"}, "say what each of the network's `actions` is"),
        ({"environment": "Blackjack-v1"}, "Blackjack-v1 observes Tuple"),
        ({"environment": "CliffWalking-v1"}, "no limit of its own; say after how many `steps`"),
    ],
)
def test_what_gymnasium_cannot_say_is_asked_for(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        made("gymnasium", **options)


# -- samples --------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.floats(0.05, 0.95), st.lists(st.integers(2, 30), min_size=2, max_size=4))
def test_splits_are_disjoint_complete_and_stratified(seed: int, share: float, sizes: list[int]) -> None:
    y = np.repeat(np.arange(len(sizes)), sizes)
    x = np.arange(len(y), dtype=np.float64)[:, None]
    task = Samples(x, y, test=share, seed=seed)
    parts = [task.samples(split) for split in ("search", "test")]
    assert sorted(np.concatenate([p[0][:, 0] for p in parts]).tolist()) == x[:, 0].tolist()
    for features, labels in parts:
        assert np.array_equal(y[features[:, 0].astype(int)], labels)
    for label, size in enumerate(sizes):
        aside = int((parts[1][1] == label).sum())
        assert aside == min(max(round(share * size), 1), size - 1)


def test_a_split_follows_from_its_seed() -> None:
    x, y = np.arange(40.0)[:, None], np.arange(40) % 2
    tests = [Samples(x, y, seed=seed).samples("test")[0].tolist() for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


def test_ranges_are_of_the_search_split_alone() -> None:
    task = Samples.of(([[0.0, 5.0], [1.0, 5.0]], [0, 1]), ([[9.0, -9.0]], [1]))
    assert task.ranges == ((0.0, 1.0), (5.0, 6.0))
    assert task.classes == 2
    pictures = Samples.of((np.zeros((2, 1, 3, 3)), [0, 1]), (np.zeros((1, 1, 3, 3)), [1]))
    assert pictures.samples("search")[0].shape == (2, 9)


@pytest.mark.parametrize(
    ("x", "y", "options", "sentence"),
    [
        ([[1.0], [2.0]], [0], {}, "not arrays of shape"),
        ([1.0, 2.0], [0, 1], {}, "not arrays of shape"),
        (np.zeros((2, 0)), [0, 1], {}, "not arrays of shape"),
        ([[1.0], [np.nan]], [0, 1], {}, "sample 1: feature 0 is nan"),
        ([[1.0], [2.0]], [0.0, 1.0], {}, "labels must be whole numbers from 0, not float64"),
        ([[1.0], [2.0]], [-1, 1], {}, "labels must be whole numbers from 0"),
        ([[1.0], [2.0]], [0, 0], {}, "all samples have the same label"),
        ([[1.0], [2.0], [3.0]], [0, 0, 1], {}, "class 1 has one sample only"),
        ([[1.0], [2.0]], [0, 0], {"test": 1.0}, "`test` must be a share between 0 and 1"),
        ([[1.0], [2.0]], [0, 0], {"seed": -1}, "`seed` must be a whole number from 0"),
    ],
)
def test_what_is_no_samples_is_refused(x: Any, y: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Samples(x, y, **options)
    with pytest.raises(ValueError, match="the split 'search' has 1 features, the split 'test' 2"):
        Samples.of(([[1.0]], [0]), ([[1.0, 2.0]], [1]))


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("iris", (150, 4), 3),
        ("wine", (178, 13), 3),
        ("breast_cancer", (569, 30), 2),
        ("digits", (1797, 64), 10),
    ],
)
def test_data_sets(name: str, shape: tuple[int, int], classes: int) -> None:
    task = made(name, seed=5)
    parts = [task.samples(split)[0] for split in ("search", "test")]
    assert (sum(map(len, parts)), parts[0].shape[1]) == shape
    assert task.classes == classes


def test_digits_are_the_packages_own() -> None:
    from vilfredo.data import digits

    data = digits.load()
    own = np.concatenate(
        [part.x.reshape(len(part.x), -1) for part in (data.train, data.validation, data.test)]
    )
    task = made("digits")
    same = np.concatenate([task.samples(split)[0] for split in ("search", "test")])
    assert np.array_equal(np.sort(own.astype(np.float64), axis=0), np.sort(same, axis=0))
    assert {row.tobytes() for row in own.astype(np.float64)} == {row.tobytes() for row in same}


def test_truth_tables() -> None:
    assert Xor().samples("search")[0].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    truth = {name: Logic(name, 2).samples("test")[1].tolist() for name in FUNCTIONS if name != "majority"}
    assert truth == {
        "and": [0, 0, 0, 1],
        "or": [0, 1, 1, 1],
        "nand": [1, 1, 1, 0],
        "nor": [1, 0, 0, 0],
        "xor": [0, 1, 1, 0],
        "xnor": [1, 0, 0, 1],
        "parity": [0, 1, 1, 0],
    }
    bits, answers = Logic("majority", 3).samples("search")
    assert answers.tolist() == (bits.sum(axis=1) > 1.5).astype(int).tolist()
    bits, answers = Logic("parity", 6).samples("search")
    assert answers.tolist() == [int(row.sum()) % 2 for row in bits]
    with pytest.raises(ValueError, match="no function 'maybe'; known: and, or,"):
        Logic("maybe")
    for inputs in (1, 2.0):
        with pytest.raises(ValueError, match="`inputs` must be a whole number from 2"):
            Logic("and", inputs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most 12 inputs"):
        Logic("and", 13)


# -- bars and stripes -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expected"), [("none", 0), ("bar", 1), ("stripe", 2), ("both", 3)])
def test_the_references_pictures_are_labelled_right(name: str, expected: int) -> None:
    rows = cartpole_cases.texts()[f"txt/7x7-{name}.txt"].split()
    picture = np.array([[int(pixel) for pixel in row] for row in rows])
    assert picture.shape == (7, 7)
    assert bars_and_stripes.label(picture[None]).tolist() == [expected]


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 10])
def test_pictures_differ_and_have_their_class(size: int) -> None:
    task = BarsAndStripes(size, samples=200)
    x, y = (np.concatenate(parts) for parts in zip(task.samples("search"), task.samples("test"), strict=True))
    assert len(np.unique(x, axis=0)) == len(x)
    assert np.array_equal(bars_and_stripes.label(x.reshape(-1, size, size)), y)
    if size >= 4:
        assert np.bincount(y).tolist() == [50] * 4
    else:
        assert set(y.tolist()) == {0, 1, 2, 3}


def test_too_many_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="hardly 4000 different pictures of 5 × 5"):
        BarsAndStripes(5, samples=4000, density=0.01)
    with pytest.raises(ValueError, match="`size` must be a whole number from 2"):
        BarsAndStripes(1)


# -- somebody's own -------------------------------------------------------------------------------


class Own:
    """A task of somebody's, with all that it needs."""

    ranges = ((0.0, 1.0),)
    actions = 2
    steps = 9

    def reset(self, seed: int) -> Any: ...
    def step(self, action: int) -> Any: ...


def test_a_class_of_ones_own_is_a_task_or_the_sentence_says_why_not() -> None:
    assert kind(Own()) == "control"
    for name in ("reset", "ranges", "actions", "steps"):
        parts = {
            part: value for part, value in vars(Own).items() if not part.startswith("_") and part != name
        }
        with pytest.raises(
            ValueError, match=f"Mine lacks `{name}`: a task has either `reset`, `step`, `ranges`"
        ):
            kind(type("Mine", (), parts)())
    with pytest.raises(ValueError, match="Mine lacks `ranges`, `classes`: a task has either"):
        kind(type("Mine", (), {"samples": Own.reset})())
    with pytest.raises(ValueError, match="int lacks `reset`, `step`"):
        kind(3)


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("actions", 1, "`actions` must be a whole number from 2, not 1"),
        ("actions", 2.0, "`actions` must be a whole number from 2, not 2.0"),
        ("steps", 0, "`steps` must be a whole number from 1, not 0"),
        ("ranges", (), "`ranges` is empty"),
        ("ranges", (1.0,), r"range 0 is 1.0, not \(low, high\)"),
        ("ranges", ((0.0, 1.0, 2.0),), r"not \(low, high\)"),
        ("ranges", ((0.0, 1.0), (1.0, 0.0)), "range 1 must go from a number to a larger one"),
        ("ranges", ((0.0, np.inf),), "range 0 must go from a number to a larger one"),
    ],
)
def test_parts_of_a_task_are_checked(part: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        kind(type("Mine", (Own,), {part: value})())


@pytest.mark.parametrize(
    ("module", "missing"), [("cartpole", "gymnasium"), ("acrobot", "gymnasium"), ("iris", "sklearn")]
)
def test_without_the_extra_one_sentence_says_what_to_install(module: str, missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from vilfredo.spec import names\n"
        f"try: names.find('task', {module!r})()\n"
        "except (ValueError, ModuleNotFoundError) as problem: print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'install it with: pip install "vilfredo[spiking]"' in done.stdout
