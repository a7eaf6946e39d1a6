"""What the agent decides, event by event."""

import pytest

from proxy_wasm.deploy.agent import (
    Action,
    Agent,
    Discard,
    Listed,
    Looked,
    Missing,
    NotPublished,
    Passed,
    Publish,
    Published,
    Say,
    Tried,
    TryOut,
    Version,
)

ONE, TWO, THREE = (Version(f"digest-{number}", f"module-{number}") for number in (1, 2, 3))
TWO_CONFIGURED = Version("digest-2b", "module-2")


def said(actions: list[Action]) -> str:
    (say,) = actions
    assert isinstance(say, Say)
    return say.text


@pytest.fixture
def agent() -> Agent:
    """An agent that has published the first version."""
    agent = Agent({})
    agent.handle(Listed(frozenset({"shop"})))
    assert agent.handle(Looked("shop", ONE)) == [TryOut("shop", ONE)]
    assert agent.handle(Tried("shop", ONE)) == [Publish("shop", ONE)]
    assert said(agent.handle(Published("shop", ONE))).startswith("published: version digest-1")
    assert agent.is_well
    return agent


def publish(agent: Agent, version: Version) -> None:
    agent.handle(Looked("shop", version))
    agent.handle(Tried("shop", version))
    agent.handle(Published("shop", version))


def test_what_is_published_is_left_alone(agent: Agent) -> None:
    assert agent.handle(Looked("shop", ONE)) == []


def test_a_refused_version_is_told_once_removed_and_not_tried_again(agent: Agent) -> None:
    agent.handle(Looked("shop", TWO))
    say, discard = agent.handle(Tried("shop", TWO, "no module"))
    assert isinstance(say, Say)
    assert say.is_problem
    assert say.text == (
        "refused: version digest-2 (module module-2): no module\nversion digest-1 (module module-1) stays"
    )
    assert discard == Discard("module-2")
    assert not agent.is_well
    assert agent.handle(Looked("shop", TWO)) == []


def test_going_back_to_what_is_published_makes_all_well(agent: Agent) -> None:
    agent.handle(Looked("shop", TWO))
    agent.handle(Tried("shop", TWO, "no module"))
    assert agent.handle(Looked("shop", ONE)) == []
    assert agent.is_well
    assert agent.handle(Looked("shop", TWO)) == [TryOut("shop", TWO)]


def test_a_refused_configuration_leaves_the_module_that_is_published(agent: Agent) -> None:
    publish(agent, TWO)
    agent.handle(Looked("shop", TWO_CONFIGURED))
    assert all(not isinstance(each, Discard) for each in agent.handle(Tried("shop", TWO_CONFIGURED, "no")))


def test_what_cannot_be_read_is_told_once_and_looked_at_again(agent: Agent) -> None:
    assert "cannot be read: gone" in said(agent.handle(Missing("shop", "gone")))
    assert agent.handle(Missing("shop", "gone")) == []
    assert not agent.is_well
    assert "cannot be read: locked" in said(agent.handle(Missing("shop", "locked")))
    assert agent.handle(Looked("shop", ONE)) == []
    assert agent.is_well


def test_what_could_not_be_written_is_written_later_without_another_trial(agent: Agent) -> None:
    agent.handle(Looked("shop", TWO))
    agent.handle(Tried("shop", TWO))
    assert "cannot be published: disk full" in said(agent.handle(NotPublished("shop", TWO, "disk full")))
    assert not agent.is_well
    assert agent.handle(Looked("shop", TWO)) == [Publish("shop", TWO)]
    assert agent.handle(NotPublished("shop", TWO, "disk full")) == []
    agent.handle(Published("shop", TWO))
    assert agent.is_well


def test_an_older_module_goes_when_its_time_has_passed_and_nothing_names_it(agent: Agent) -> None:
    publish(agent, TWO)
    assert agent.handle(Passed(100)) == []
    assert agent.handle(Passed(100 + agent.keep - 1)) == []
    assert agent.handle(Passed(100 + agent.keep)) == [Discard("module-1")]
    assert agent.handle(Passed(10_000)) == []


def test_an_older_module_that_is_published_again_stays(agent: Agent) -> None:
    publish(agent, TWO)
    agent.handle(Passed(100))
    publish(agent, ONE)
    assert agent.handle(Passed(200)) == []
    assert agent.handle(Passed(200 + agent.keep)) == [Discard("module-2")]


def test_a_module_of_two_extensions_stays_while_one_has_it(agent: Agent) -> None:
    agent.handle(Listed(frozenset({"shop", "other"})))
    agent.handle(Looked("other", ONE))
    agent.handle(Tried("other", ONE))
    agent.handle(Published("other", ONE))
    publish(agent, TWO)
    agent.handle(Passed(100))
    assert agent.handle(Passed(10_000)) == []


def test_a_version_that_was_accepted_and_never_published_leaves_no_module(agent: Agent) -> None:
    agent.handle(Looked("shop", TWO))
    agent.handle(Tried("shop", TWO))
    agent.handle(NotPublished("shop", TWO, "disk full"))
    publish(agent, THREE)
    agent.handle(Passed(0))
    assert set(
        agent.handle(Passed(10_000)),
    ) == {Discard("module-1"), Discard("module-2")}


def test_an_agent_that_starts_trusts_what_is_published_and_clears_the_rest() -> None:
    agent = Agent({"shop": ONE}, ["module-1", "module-9"])
    agent.handle(Listed(frozenset({"shop"})))
    assert agent.handle(Looked("shop", ONE)) == []
    assert agent.is_well
    agent.handle(Passed(5))
    assert agent.handle(Passed(5 + agent.keep)) == [Discard("module-9")]


def test_an_extension_that_is_not_listed_any_more_stays_published(agent: Agent) -> None:
    assert "version digest-1 (module module-1) stays" in said(agent.handle(Listed(frozenset())))
    assert agent.handle(Listed(frozenset())) == []
    agent.handle(Passed(0))
    assert agent.handle(Passed(10_000)) == []


def test_nothing_is_well_before_anything_is_published() -> None:
    agent = Agent({})
    agent.handle(Listed(frozenset({"shop"})))
    assert not agent.is_well
    assert "nothing is published yet" in said(agent.handle(Missing("shop", "gone")))
