//! A future that can be killed at any await, or not scheduled for a while: what a process can suffer in one invocation.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use tokio::time::Sleep;

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End<T> {
    /// By itself.
    Came(T),
    /// It was killed where it waited.
    Killed,
}

/// What is to happen, counted in polls: each is a return from some await.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Doom {
    /// Killed in place of this poll, from 1.
    pub(crate) kill_at: Option<u32>,
    /// Not scheduled for so long before this poll.
    pub(crate) stall_at: Option<(u32, Duration)>,
}

/// The future with its doom.
pub(crate) struct Mortal<F> {
    inner: Pin<Box<F>>,
    doom: Doom,
    polls: u32,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<F> Mortal<F> {
    pub(crate) fn new(inner: F, doom: Doom) -> Mortal<F> {
        Mortal { inner: Box::pin(inner), doom, polls: 0, stall: None }
    }
}

impl<F: Future> Future for Mortal<F> {
    type Output = End<F::Output>;

    #[expect(clippy::disallowed_methods, reason = "a stall is time that passes")]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(stall) = &mut self.stall {
            if stall.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.stall = None;
        }
        self.polls += 1;
        if self.doom.kill_at == Some(self.polls) {
            return Poll::Ready(End::Killed);
        }
        if let Some((at, lasting)) = self.doom.stall_at
            && at == self.polls
        {
            self.doom.stall_at = None;
            self.polls -= 1;
            self.stall = Some(Box::pin(tokio::time::sleep(lasting)));
            return self.poll(context);
        }
        self.inner.as_mut().poll(context).map(End::Came)
    }
}

/// A life that ends at one of its calls to the outside, before or after the call did what it is for. Where a thread works for a future the
/// clock stands still, and how often it is polled is the thread's affair: its calls can be counted all the same.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// Calls that are left, and whether the last of them is still done.
    left: Mutex<Option<(u32, bool)>>,
    over: Notify,
}

impl Life {
    /// One that ends at the call of this number, from 0, if any.
    pub(crate) fn until(end: Option<(u32, bool)>) -> Life {
        Life { left: Mutex::new(end), over: Notify::new() }
    }

    /// What `work` comes to, unless life ends before.
    pub(crate) async fn of<T>(&self, work: impl Future<Output = T>) -> End<T> {
        match select(pin!(work), pin!(self.over.notified())).await {
            Either::Left((end, _)) => End::Came(end),
            Either::Right(_) => End::Killed,
        }
    }

    /// One call.
    pub(crate) async fn around<T>(&self, call: impl Future<Output = T>) -> T {
        let end = match &mut *self.left.lock().unwrap() {
            Some((0, is_done)) => Some(*is_done),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        match end {
            None => return call.await,
            Some(true) => drop(call.await),
            Some(false) => {}
        }
        self.over.notify_one();
        pending().await
    }
}

mod tests {
    use super::*;
    use tokio::time::Instant;

    async fn three_awaits(reached: &mut u32) {
        for _ in 0..3 {
            tokio::task::yield_now().await;
            *reached += 1;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_killed_at_each_of_its_awaits_and_nowhere_else() {
        for (kill_at, expected) in [(1, 0), (2, 0), (3, 1), (4, 2)] {
            let mut reached = 0;
            let doom = Doom { kill_at: Some(kill_at), ..Doom::default() };
            assert_eq!((Mortal::new(three_awaits(&mut reached), doom).await, reached), (End::Killed, expected));
        }
        let mut reached = 0;
        let doom = Doom { kill_at: Some(5), ..Doom::default() };
        assert_eq!((Mortal::new(three_awaits(&mut reached), doom).await, reached), (End::Came(()), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_ends_at_its_call_before_it_or_after_it() {
        for (end, expected) in [((0, false), 0), ((0, true), 1), ((2, false), 2), ((2, true), 3)] {
            let (life, done) = (Life::until(Some(end)), Mutex::new(0));
            let work = async {
                for _ in 0..3 {
                    life.around(async { *done.lock().unwrap() += 1 }).await;
                }
            };
            assert_eq!((life.of(work).await, *done.lock().unwrap()), (End::Killed, expected), "{end:?}");
        }
        let life = Life::until(Some((1, false)));
        assert_eq!(life.of(life.around(async { 7 })).await, End::Came(7));
    }

    #[tokio::test(start_paused = true)]
    async fn time_passes_while_it_is_not_scheduled() {
        let (began, mut reached) = (Instant::now(), 0);
        let doom = Doom { stall_at: Some((2, Duration::from_secs(9))), ..Doom::default() };
        assert_eq!(Mortal::new(three_awaits(&mut reached), doom).await, End::Came(()));
        assert_eq!((reached, began.elapsed()), (3, Duration::from_secs(9)));
    }
}
