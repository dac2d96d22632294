//! Requests for one answer at one time: the first one asks, the others wait for what it gets. Whoever leads may fail, go
//! away, or get what is for nobody else; those who wait are then told so, and never left.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// What became of a question that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landing {
    /// Its answer is remembered now.
    Remembered,
    /// Its answer is not for others, or takes too long: ask for oneself.
    Alone,
    /// Whoever asked went away without an answer: somebody else may lead.
    Abandoned,
}

/// Questions that are being asked, by key.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<Box<[u8]>, watch::Receiver<Landing>>>>);

pub(super) enum Seat {
    Lead(Lead),
    Follow(Follow),
}

/// Held by who asks. Dropped without a word, the question is abandoned.
pub(super) struct Lead {
    flights: Flights,
    key: Box<[u8]>,
    landing: watch::Sender<Landing>,
}

pub(super) struct Follow(watch::Receiver<Landing>);

impl Flights {
    pub(super) fn board(&self, key: &[u8]) -> Seat {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = flights.get(key) {
            return Seat::Follow(Follow(landing.clone()));
        }
        let (landing, followed) = watch::channel(Landing::Abandoned);
        flights.insert(key.into(), followed);
        Seat::Lead(Lead { flights: self.clone(), key: key.into(), landing })
    }
}

impl Lead {
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn land(self, landing: Landing) {
        self.landing.send_replace(landing);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Off the list first: who is told that it was abandoned finds the seat free.
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Follow {
    /// Waits as long as `patience`.
    pub(super) async fn landing(mut self, patience: Duration) -> Landing {
        let landed = tokio::time::timeout(patience, self.0.changed()).await;
        match landed {
            Err(_) => Landing::Alone,
            // Told, or dropped without a word: what stands there is the first or the last word.
            Ok(_) => *self.0.borrow(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Flights, Follow, Landing, Lead, Seat};

    const LONG: Duration = Duration::from_mins(1);

    fn lead(flights: &Flights) -> Lead {
        match flights.board(b"key") {
            Seat::Lead(lead) => lead,
            Seat::Follow(_) => panic!("somebody leads"),
        }
    }

    fn follow(flights: &Flights) -> Follow {
        match flights.board(b"key") {
            Seat::Lead(_) => panic!("nobody leads"),
            Seat::Follow(follow) => follow,
        }
    }

    #[tokio::test]
    async fn those_who_wait_are_told() {
        let flights = Flights::default();
        for landing in [Landing::Remembered, Landing::Alone] {
            let lead = lead(&flights);
            let (one, two) = (follow(&flights), follow(&flights));
            assert!(matches!(flights.board(b"another"), Seat::Lead(_)));
            lead.land(landing);
            assert_eq!((one.landing(LONG).await, two.landing(LONG).await), (landing, landing));
        }
        drop(lead(&flights));
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_leaves_its_seat() {
        let flights = Flights::default();
        let first = lead(&flights);
        let waiting = follow(&flights);
        drop(first);
        assert_eq!(waiting.landing(LONG).await, Landing::Abandoned);
        drop(lead(&flights));
    }

    #[tokio::test]
    async fn one_that_goes_away_while_it_waits_is_nobodys_loss() {
        let flights = Flights::default();
        let leading = lead(&flights);
        let (gone, stays) = (follow(&flights), follow(&flights));
        drop(gone.landing(LONG));
        leading.land(Landing::Remembered);
        assert_eq!(stays.landing(LONG).await, Landing::Remembered);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let flights = Flights::default();
        let _leading = lead(&flights);
        assert_eq!(follow(&flights).landing(Duration::from_millis(1)).await, Landing::Alone);
    }
}
