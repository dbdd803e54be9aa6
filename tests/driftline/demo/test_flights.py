"""Story (c): the rules of the flights judge whole weeks, and the replay begins with one."""

from driftline.demo.flights import FLIGHTS, rules
from driftline.demo.flights_timeline import HISTORY_START, TRAINING_END


def test_rules_judge_two_weeks_in_a_row_and_only_one_retrains() -> None:
    made = rules()

    assert {(rule["span"], rule["for_windows"], rule["recover_windows"]) for rule in made} == {("week", 2, 2)}
    assert [rule.get("action", "notify") for rule in made] == ["retrain", "notify", "notify"]
    assert {rule["feature"] for rule in made if "feature" in rule} <= set(FLIGHTS.inputs.names)


def test_the_replay_begins_on_a_monday_after_what_the_champion_learnt_from() -> None:
    assert HISTORY_START.weekday() == 0
    assert HISTORY_START > TRAINING_END
