//! What happens in each round, decided by the seed before the first one.

use std::fmt;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

/// How long the server lives under load, in milliseconds.
const LIFE_MS: std::ops::RangeInclusive<u64> = 50..=800;
/// One of so many lives ends in order.
const STOPPED: u32 = 4;
/// One of so many starts is interrupted first.
const INTERRUPTED_STARTS: u32 = 8;
/// The same of starts that change the number of shards.
const INTERRUPTED_MOVES: u32 = 2;
/// How long the server lives when its start is interrupted, in milliseconds.
const INTERRUPTED_START_MS: std::ops::RangeInclusive<u64> = 0..=60;
/// One of so many starts is followed by load at once, the check is left to a later life.
const UNCHECKED: u32 = 5;
/// The number of shards changes within this, or up to the number it begins with.
const FEW_SHARDS: u32 = 4;

/// How the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `SIGKILL`.
    Kill,
    /// `SIGTERM`, and it ends in order.
    Stop,
}

/// A life of the server under load, its end, and the start after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// How long the life is.
    pub life: Duration,
    /// How it ends.
    pub end: End,
    /// How long a start lives that is killed before the one that counts.
    pub interrupted: Option<Duration>,
    /// Shards from the next start on.
    pub shards: u32,
    /// Whether expiry looks every second, at every start and `SEND`, instead of never.
    pub expiry: bool,
    /// Whether the next life begins with a check.
    pub check: bool,
}

/// All rounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Shards of the first start.
    pub shards: u32,
    /// The rounds in order.
    pub rounds: Vec<Round>,
}

impl Plan {
    /// Makes a plan; one of `reshard` starts changes the number of shards, none when it is 0.
    pub fn new(rng: &mut StdRng, rounds: u32, shards: u32, reshard: u32) -> Self {
        let first = shards;
        let mut shards = shards;
        let rounds = (1..=rounds).map(|round| {
            let moves = reshard > 0 && rng.random_ratio(1, reshard);
            if moves {
                // Any but the one that is.
                let other = rng.random_range(1..first.max(FEW_SHARDS));
                shards = if other < shards { other } else { other + 1 };
            }
            let interrupted = match moves {
                true => rng.random_ratio(1, INTERRUPTED_MOVES),
                false => rng.random_ratio(1, INTERRUPTED_STARTS),
            };
            let life = rng.random_range(INTERRUPTED_START_MS);
            Round {
                life: Duration::from_millis(rng.random_range(LIFE_MS)),
                end: match rng.random_ratio(1, STOPPED) {
                    true => End::Stop,
                    false => End::Kill,
                },
                interrupted: interrupted.then(|| Duration::from_millis(life)),
                shards,
                expiry: rng.random_bool(0.5),
                check: !rng.random_ratio(1, UNCHECKED) || round == rounds,
            }
        });
        let rounds = rounds.collect();
        Self {
            shards: first,
            rounds,
        }
    }

    /// The largest number of shards.
    pub fn most_shards(&self) -> u32 {
        let each = self.rounds.iter().map(|round| round.shards);
        each.fold(self.shards, u32::max)
    }

    /// How often the number of shards changes.
    #[cfg(test)]
    fn moves(&self) -> usize {
        let before = self.rounds.iter().map(|round| round.shards);
        let before = std::iter::once(self.shards).chain(before);
        let after = self.rounds.iter().map(|round| round.shards);
        before.zip(after).filter(|(a, b)| a != b).count()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "schedule: K killed, S stopped; then i start interrupted, >N shards, e expiry looks, \
             - no check"
        )?;
        let mut shards = self.shards;
        for (number, round) in self.rounds.iter().enumerate() {
            let end = match round.end {
                End::Kill => "K",
                End::Stop => "S",
            };
            write!(f, " {}{end}", number + 1)?;
            if round.interrupted.is_some() {
                write!(f, "i")?;
            }
            if round.shards != shards {
                write!(f, ">{}", round.shards)?;
            }
            shards = round.shards;
            for (is, letter) in [(round.expiry, "e"), (!round.check, "-")] {
                if is {
                    write!(f, "{letter}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    fn plan(seed: u64, shards: u32, reshard: u32) -> Plan {
        Plan::new(&mut StdRng::seed_from_u64(seed), 200, shards, reshard)
    }

    #[test]
    fn the_seed_decides_and_everything_has_its_turn() {
        for shards in [1, 4, 9] {
            let made = plan(7, shards, 8);
            assert_eq!(made, plan(7, shards, 8));
            assert_ne!(made, plan(8, shards, 8));
            let plan = made;
            assert!(plan.moves() > 10 && plan.most_shards() <= shards.max(4));
            assert!(plan.rounds.iter().all(|round| round.shards > 0));
            assert!(plan.rounds.last().unwrap().check);
            let text = plan.to_string();
            for what in ["K", "S", "i", ">", "e", "-"] {
                let schedule = text.lines().last().unwrap();
                assert!(schedule.matches(what).count() > 5, "{what}: {schedule}");
            }
        }
    }

    #[test]
    fn shards_stay_when_that_is_wanted() {
        let plan = plan(7, 3, 0);
        assert_eq!((plan.moves(), plan.most_shards()), (0, 3));
    }
}
