//! One process: started clean, signalled by the pid that is really its own, reaped once.
//!
//! A pid may be given to another process once its owner was reaped, and a SIGKILL that arrives late would then hit a stranger. So a
//! thread waits for the end *without* reaping, and reaps under the same lock that every signal takes: a signal reaches
//! this process or nothing.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

use crate::output::{Output, Stream};
use crate::usage::{self, Usage, UsageError};

/// A started process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    killer: Killer,
    output: Output,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// A handle on one process, for signals from elsewhere than where it is being invoked. It never reaches a later process,
/// not even one that inherited the pid.
#[derive(Clone, Debug)]
pub struct Killer {
    pid: Pid,
    reaped: Arc<Mutex<bool>>,
}

/// Why a signal was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// The process has ended already.
    #[error("the process has ended")]
    Gone,
    /// The system refused.
    #[error("signal refused by the system")]
    Refused(#[source] io::Error),
}

impl Process {
    /// Starts `binary` in folder `folder` with exactly `env`, nothing inherited, standard input empty.
    pub(crate) fn spawn(binary: &Path, folder: &Path, env: &BTreeMap<String, String>) -> io::Result<Self> {
        let mut child = Command::new(std::path::absolute(binary)?) // a relative one would be looked up in `folder`
            .current_dir(folder)
            .env_clear()
            .envs(env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("a pipe that was asked for is missing");
        let stdout = OwnedFd::from(child.stdout.take().ok_or_else(missing)?);
        let stderr = OwnedFd::from(child.stderr.take().ok_or_else(missing)?);
        let killer = Killer { pid: Pid::from_child(&child), reaped: Arc::default() };
        let (ended, exit) = watch::channel(None);
        let reaper = killer.clone();
        std::thread::spawn(move || ended.send_replace(Some(reaper.reap(child))));
        Ok(Self { killer, output: Output { stdout: Stream::capture(stdout)?, stderr: Stream::capture(stderr)? }, exit })
    }

    pub(crate) fn killer(&self) -> &Killer {
        &self.killer
    }

    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = exit.wait_for(Option::is_some).await.map(|status| *status);
        status.ok().flatten().unwrap_or_else(unknown_status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_already = self.killer.kill();
    }
}

/// Exit code 255. Only a stranger who reaps our children could make it appear.
fn unknown_status() -> ExitStatus {
    ExitStatus::from_raw(0xff00)
}

impl Killer {
    /// The process id. A respawned function has another one, and another `Killer`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// SIGKILL, at once, whatever it is doing: idle, invoked, or frozen.
    ///
    /// # Errors
    /// [`SignalError`] when it has ended already.
    pub fn kill(&self) -> Result<(), SignalError> {
        self.signal(Signal::KILL).map(drop)
    }

    /// SIGSTOP, as Lambda freezes an environment between invocations; returns when it stands still.
    ///
    /// # Errors
    /// [`SignalError`] when it has ended already.
    pub fn freeze(&self) -> Result<(), SignalError> {
        let _not_reaped_meanwhile = self.signal(Signal::STOP)?;
        self.wait_without_reaping(WaitIdOptions::STOPPED | WaitIdOptions::EXITED).map_err(SignalError::Refused)
    }

    /// SIGCONT: it goes on where it stood. Nothing happens to one that is not frozen.
    ///
    /// # Errors
    /// [`SignalError`] when it has ended already.
    pub fn thaw(&self) -> Result<(), SignalError> {
        self.signal(Signal::CONT).map(drop)
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// [`UsageError::Gone`] when it has ended; others where `/proc` is not Linux's.
    pub fn usage(&self) -> Result<Usage, UsageError> {
        let reaped = self.lock();
        if *reaped {
            return Err(UsageError::Gone);
        }
        usage::of_process(self.pid())
    }

    /// Sends `signal` and keeps the process from being reaped as long as the guard lives.
    fn signal(&self, signal: Signal) -> Result<MutexGuard<'_, bool>, SignalError> {
        let reaped = self.lock();
        if *reaped {
            return Err(SignalError::Gone);
        }
        kill_process(self.pid, signal).map_err(|errno| SignalError::Refused(errno.into()))?;
        Ok(reaped)
    }

    fn reap(&self, mut child: Child) -> ExitStatus {
        let _at_worst_we_wait_below = self.wait_without_reaping(WaitIdOptions::EXITED);
        let mut reaped = self.lock();
        let status = child.wait();
        *reaped = true;
        status.unwrap_or_else(|_| unknown_status())
    }

    fn wait_without_reaping(&self, what: WaitIdOptions) -> io::Result<()> {
        loop {
            match waitid(WaitId::Pid(self.pid), what | WaitIdOptions::NOWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.map(drop).map_err(io::Error::from),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
