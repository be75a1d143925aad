from cli.supervise import Backoff


def test_each_death_doubles_the_wait_up_to_a_limit() -> None:
    backoff = Backoff(first_s=0.2, longest_s=5)
    assert [backoff.delay_s(deaths) for deaths in range(1, 7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5]
    assert backoff.delay_s(10_000) == 5


def test_a_steady_life_makes_the_wait_short_again() -> None:
    backoff = Backoff(steady_s=10)
    assert backoff.deaths_in_a_row(7, lived_s=9.9) == 8
    assert backoff.deaths_in_a_row(7, lived_s=10) == 1
