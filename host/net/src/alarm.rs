//! One timer for one wait after the other. A timer that is set, and taken back when the wait is over, costs more than the
//! rest of a short wait's bookkeeping; this one goes off now and then, and looks whether it was meant.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::Progress;

/// Made when it is first waited for.
#[derive(Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// `None` when nothing moved for `limit`: neither an outcome came, nor anything of the request's body was taken.
    pub(crate) async fn in_time<T>(
        &mut self,
        mut exchange: Pin<&mut impl Future<Output = T>>,
        limit: Duration,
        progress: Option<&Progress>,
    ) -> Option<T> {
        let mut due = Instant::now() + limit;
        poll_fn(|cx| {
            // Before the exchange: one that always has something to do leaves nothing of the task's turn to look at a timer.
            while self.poll(due, cx).is_ready() {
                let moved = progress.and_then(Progress::moved).map(|moved| moved + limit);
                let Some(later) = moved.filter(|later| *later > due) else {
                    // What came while nobody looked counts.
                    let outcome = exchange.as_mut().poll(cx);
                    return Poll::Ready(if let Poll::Ready(outcome) = outcome { Some(outcome) } else { None });
                };
                due = later;
            }
            exchange.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Ready when it is `due`.
    pub(crate) fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        pin::pin,
        time::Duration,
    };

    use tokio::time::{Instant, sleep, sleep_until};

    use super::Alarm;
    use crate::body::Progress;

    const LIMIT: Duration = Duration::from_millis(300);
    const MOST_OF_IT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn each_wait_has_all_of_its_time() {
        let mut alarm = Alarm::default();
        for _ in 0..3 {
            assert_eq!(alarm.in_time(pin!(sleep(MOST_OF_IT)), LIMIT, None).await, Some(()));
        }
        assert_eq!(alarm.in_time(pin!(ready(1)), LIMIT, None).await, Some(1));
        for pause in [Duration::ZERO, 2 * LIMIT] {
            sleep(pause).await;
            let begun = Instant::now();
            assert_eq!(alarm.in_time(pin!(pending::<()>()), LIMIT, None).await, None);
            assert!(begun.elapsed() >= LIMIT);
        }
    }

    /// The runtime takes a task's turn from it, and what it polls then is never ready.
    #[tokio::test]
    async fn what_never_rests_has_no_longer() {
        let busy = async {
            loop {
                tokio::task::consume_budget().await;
            }
        };
        assert_eq!(Alarm::default().in_time(pin!(busy), LIMIT, None).await, None::<()>);
    }

    #[tokio::test]
    async fn what_came_in_time_is_no_less_for_being_looked_at_late() {
        let mut alarm = Alarm::default();
        let mut exchange = pin!(sleep(MOST_OF_IT));
        let waiting = alarm.in_time(exchange.as_mut(), LIMIT, None);
        let (outcome, ()) = tokio::join!(waiting, async { std::thread::sleep(2 * LIMIT) });
        assert_eq!(outcome, Some(()));
    }

    /// From then on, and not from whenever that is looked at.
    #[tokio::test]
    async fn what_is_taken_of_a_body_is_worth_a_limit_more() {
        let progress = Progress::default();
        let mut alarm = Alarm::default();
        let waiting = async {
            let ended = alarm.in_time(pin!(pending::<()>()), LIMIT, Some(&progress)).await;
            (ended, Instant::now())
        };
        let later = async {
            sleep(MOST_OF_IT).await;
            progress.note();
            let due = progress.moved().unwrap() + LIMIT;
            sleep_until(due + LIMIT / 6).await;
            due
        };
        // The first is looked at first, where both are late.
        let (mut waiting, mut later) = (pin!(waiting), pin!(later));
        tokio::select! {
            biased;
            (ended, at) = &mut waiting => assert!(ended.is_none() && at >= later.await - LIMIT / 100),
            _ = &mut later => panic!("it has more than a limit"),
        }
    }
}
