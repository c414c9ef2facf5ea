//! What lets a future that hands work to threads live in a world whose every run is the same.
//!
//! The job that reads the ledger unpacks objects on threads for blocking work, and the job that uploads reads its file there. [`Alone`] waits
//! for these wherever its future waits: so nothing else happens in the world meanwhile, and how fast the threads are decides nothing. It
//! needs a runtime with one such thread: work is then done in the order in which it was given.
//!
//! The models of a world are polled whenever anything happens in it. [`Gate`] lets only those polls through that its future was woken
//! for: its awaits can be counted then.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// Whether a future was woken, and who else wants to know.
#[derive(Default)]
struct Signal {
    woken: AtomicBool,
    /// Whoever looks by himself is not told.
    looks: AtomicBool,
    outer: Mutex<Option<Waker>>,
    /// The world's thread, while it waits for this alone.
    waiting: Mutex<Option<Thread>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Signal>) {
        self.woken.store(true, Ordering::SeqCst);
        let outer = if self.looks.load(Ordering::SeqCst) { None } else { self.outer.lock().unwrap().take() };
        outer.map(Waker::wake).unwrap_or_default();
        let waiting = self.waiting.lock().unwrap().take();
        waiting.map(|thread| thread.unpark()).unwrap_or_default();
    }
}

impl Signal {
    fn take(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }

    /// Waits for another thread to wake it.
    fn wait(&self) {
        for _ in 0..WAIT_S {
            *self.waiting.lock().unwrap() = Some(std::thread::current());
            if self.woken.load(Ordering::SeqCst) {
                return;
            }
            std::thread::park_timeout(Duration::from_secs(1));
        }
        assert!(self.woken.load(Ordering::SeqCst), "a future waits for something else than its thread, while that works");
    }
}

/// Longer than any thread here works, in seconds.
const WAIT_S: u32 = 120;

/// What threads for blocking work may have to do for a future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing.
    None,
    /// Something that ends by itself.
    ThatEnds,
    /// Something that goes on only together with the future, and wakes it.
    ThatWakes,
}

/// A future that waits together with everything else while its blocking work is done. `around` runs before and after each poll, and
/// says which work there may be.
pub(crate) struct Alone<F, A> {
    inner: Pin<Box<F>>,
    around: A,
    signal: Arc<Signal>,
}

impl<F, A: FnMut() -> Work> Alone<F, A> {
    pub(crate) fn new(inner: F, around: A) -> Alone<F, A> {
        Alone { inner: Box::pin(inner), around, signal: Arc::default() }
    }
}

impl<F: Future, A: FnMut() -> Work + Unpin> Future for Alone<F, A> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let signal = self.signal.clone();
        *signal.outer.lock().unwrap() = Some(context.waker().clone());
        signal.looks.store(true, Ordering::SeqCst);
        let waker = Waker::from(signal.clone());
        let mut works = false;
        loop {
            signal.take();
            (self.around)();
            // Otherwise tokio would have it wait after so many steps, for ever: all of them are within one poll.
            let inner = std::pin::pin!(tokio::task::unconstrained(self.inner.as_mut()));
            let polled = inner.poll(&mut Context::from_waker(&waker));
            let work = (self.around)();
            works |= work == Work::ThatEnds;
            if polled.is_ready() {
                return polled;
            }
            if works {
                until_blocking_work_is_done();
            }
            if work == Work::ThatWakes {
                signal.wait();
            }
            if !signal.take() {
                signal.looks.store(false, Ordering::SeqCst);
                return Poll::Pending;
            }
        }
    }
}

fn until_blocking_work_is_done() {
    let (done, all) = channel();
    drop(tokio::task::spawn_blocking(move || done.send(())));
    all.recv().unwrap();
}

/// A future that is polled only when it was woken.
pub(crate) struct Gate<F> {
    inner: Pin<Box<F>>,
    signal: Arc<Signal>,
    is_new: bool,
}

impl<F> Gate<F> {
    pub(crate) fn new(inner: F) -> Gate<F> {
        Gate { inner: Box::pin(inner), signal: Arc::default(), is_new: true }
    }
}

impl<F: Future> Future for Gate<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        *self.signal.outer.lock().unwrap() = Some(context.waker().clone());
        if !self.signal.take() && !self.is_new {
            return Poll::Pending;
        }
        self.is_new = false;
        let waker = Waker::from(self.signal.clone());
        self.inner.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

mod tests {
    use super::*;
    use std::cell::Cell;

    use futures_util::future::join;
    use tokio::time::Instant;

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).max_blocking_threads(1).build().unwrap().block_on(test);
    }

    #[test]
    fn nothing_else_happens_while_it_waits_for_blocking_work() {
        run(async {
            let (others, turns) = (Cell::new(0), Cell::new(0));
            let works = async {
                let before = others.get();
                let work = |number| tokio::task::spawn_blocking(move || (0..200_000_u64).fold(number, u64::wrapping_add));
                for number in 0..20 {
                    let both = join(work(number), work(number)).await;
                    assert_eq!(both.0.unwrap(), both.1.unwrap());
                }
                assert_eq!(others.get(), before);
            };
            let busy = async {
                for _ in 0..1_000 {
                    others.set(others.get() + 1);
                    tokio::task::yield_now().await;
                }
            };
            let around = || {
                turns.set(turns.get() + 1);
                Work::ThatEnds
            };
            join(Alone::new(works, around), busy).await;
            // How many depends on which work was quicker than the look at it.
            assert!(turns.get() > 0 && turns.get() % 2 == 0, "{}", turns.get());
        });
    }

    #[test]
    fn work_that_goes_on_only_with_its_future_is_waited_for_step_by_step() {
        run(async {
            let others = Cell::new(0);
            let works = async {
                let before = others.get();
                let (tell, mut told) = tokio::sync::mpsc::channel(1);
                let work = tokio::task::spawn_blocking(move || (0..1_000).try_for_each(|number| tell.blocking_send(number)));
                let mut all = Vec::new();
                while let Some(number) = told.recv().await {
                    all.push(number);
                }
                work.await.unwrap().unwrap();
                assert_eq!((all, others.get()), ((0..1_000).collect(), before));
            };
            let busy = async {
                for _ in 0..1_000 {
                    others.set(others.get() + 1);
                    tokio::task::yield_now().await;
                }
            };
            join(Alone::new(works, || Work::ThatWakes), busy).await;
        });
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "time that passes")]
    fn what_passes_the_gate_was_woken_for() {
        run(async {
            let polls = Cell::new(0);
            let began = Instant::now();
            let sleeps = async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                tokio::time::sleep(Duration::from_secs(5)).await;
            };
            let mut sleeps = Box::pin(sleeps);
            let counted = std::future::poll_fn(|context| {
                polls.set(polls.get() + 1);
                sleeps.as_mut().poll(context)
            });
            let busy = async {
                for _ in 0..100 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            join(Gate::new(counted), busy).await;
            assert_eq!((polls.get(), began.elapsed()), (3, Duration::from_secs(10)));
        });
    }
}
