//! `wasi:random`: a constant for routers, true for the others once they answer.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

use rand::{Rng, SeedableRng, TryRng, rngs::StdRng};

use crate::ctx::Answering;

/// What the instances of one generation see of the world before they answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    seed: [u8; 32],
    time: Duration,
}

impl Drawn {
    /// For services and agents: drawn now, so that a HashMap's seed is not known to strangers.
    pub(crate) fn at(now: SystemTime) -> Self {
        let time = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { seed: rand::random(), time }
    }

    /// For routers: the same for ever, so that a decision asked twice is the same twice.
    pub(crate) fn constant() -> Self {
        Self { seed: [0; 32], time: Duration::ZERO }
    }

    pub(crate) fn time(&self) -> Duration {
        self.time
    }

    /// What a HashMap of the guest's is seeded with. It marks nothing: an order of keys is no part of an answer.
    pub(crate) fn seed(&self) -> u128 {
        u128::from_le_bytes(self.seed[16..].try_into().expect("half of 32 bytes"))
    }

    pub(crate) fn generator(&self, answering: &Answering) -> Generator {
        Generator { drawn: None, seed: self.seed, answering: answering.clone() }
    }
}

/// Draws from the generation's seed until its instance answers, from the system afterwards.
pub(crate) struct Generator {
    drawn: Option<Box<StdRng>>,
    seed: [u8; 32],
    answering: Answering,
}

impl Generator {
    fn with<R>(&mut self, draw: impl FnOnce(&mut dyn Rng) -> R) -> R {
        if self.answering.uses_the_world() {
            draw(&mut rand::rng())
        } else {
            let seed = self.seed;
            draw(self.drawn.get_or_insert_with(|| Box::new(StdRng::from_seed(seed))).as_mut())
        }
    }
}

impl TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.with(|rng| rng.next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.with(|rng| rng.next_u64()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.with(|rng| rng.fill_bytes(bytes));
        Ok(())
    }
}
