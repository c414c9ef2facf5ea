//! The other three ways out of the relay: the secret, the store, and the queue's visibility timeouts.

use std::fmt;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use m3ter_client::{Credentials, Secrets, SecretsError};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use relay::{Delay, Queue};

use crate::fault::Fault;
use crate::plan::Ledger;
use crate::watcher::NUMBER;
use crate::world::World;

/// The secret, as one environment reads it.
pub(crate) struct Vault(pub(crate) Arc<World>);

#[async_trait]
impl Secrets for Vault {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        let nature = &self.0.nature;
        nature.pass(nature.between(1, 40)).await;
        nature.tell("  the secret is read");
        if nature.strikes(Fault::SecretUnreadable) {
            return match nature.between(0, 3) {
                0 => Err(SecretsError::Unreachable),
                1 => Err(SecretsError::Denied),
                2 => Err(SecretsError::Malformed),
                _ => pending().await,
            };
        }
        if nature.lasts(Fault::WrongSecret) {
            return Ok(Credentials { access_key_id: "canary-key-wrong".into(), api_secret: "canary-secret-wrong".into() });
        }
        let (id, secret) = pair(self.0.outside().in_the_secret);
        Ok(Credentials { access_key_id: id.into(), api_secret: secret.into() })
    }
}

/// The credentials of a number.
pub(crate) fn pair(number: u32) -> (String, String) {
    (format!("canary-key-{number}"), format!("canary-secret-{number}"))
}

/// The store, as one environment reaches it.
pub(crate) struct Objects {
    pub(crate) world: Arc<World>,
    pub(crate) environment: u32,
}

impl fmt::Debug for Objects {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Objects")
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a store that fails")
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic { store: "sim", source: "planned".into() }
}

impl Objects {
    async fn before_the_put(&self, name: &Path) -> object_store::Result<()> {
        let nature = &self.world.nature;
        // At best effort nothing waits for the ledger, and so nobody is warned by it.
        let warns = nature.plan.ledger != Ledger::BestEffort || !name.as_ref().contains("ledger/");
        nature.pass(nature.between(2, 60)).await;
        if nature.lasts(Fault::StoreDown) {
            if warns {
                self.world.books().warned.insert(self.environment, nature.now_ms());
            }
            return match nature.chance(0.8) {
                true => Err(broken()),
                false => pending().await,
            };
        }
        if nature.strikes(Fault::Panic) {
            resume_unwind(Box::new("planned"));
        }
        if nature.strikes(Fault::PutFails) {
            return Err(broken());
        }
        if nature.strikes(Fault::PutHangs) {
            return pending().await;
        }
        Ok(())
    }
}

impl Objects {
    /// The relay reads the catalogue alone; in a world without one nothing is to be read, and nothing is drawn for it.
    async fn before_the_get(&self) -> object_store::Result<()> {
        let nature = &self.world.nature;
        if self.environment == NUMBER {
            self.world.was_read.store(true, Ordering::Relaxed);
            return Ok(());
        }
        if self.world.goods.known.is_none() {
            return Ok(());
        }
        nature.pass(nature.between(2, 60)).await;
        let fails = nature.lasts(Fault::StoreDown) || (nature.is_faulty() && nature.chance(0.2));
        nature.sometimes(if fails { "catalogue: not given" } else { "catalogue: given" });
        match (fails, fails && nature.chance(0.3)) {
            (false, _) => Ok(()),
            (true, false) => Err(broken()),
            (true, true) => pending().await,
        }
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, name: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        let nature = &self.world.nature;
        self.before_the_put(name).await?;
        let bytes: Vec<u8> = payload.iter().flat_map(|part| part.iter().copied()).collect();
        let put = self.world.objects.put_opts(name, payload, options).await?;
        self.world.stored(self.environment, name.as_ref(), &bytes);
        nature.pass(nature.between(0, 30)).await;
        match nature.strikes(Fault::PutAnswerLost) {
            true => Err(broken()),
            false => Ok(put),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(object_store::Error::NotImplemented { operation: "put in parts".into(), implementer: "sim".into() })
    }

    async fn get_opts(&self, name: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.before_the_get().await?;
        self.world.objects.get_opts(name, options).await
    }

    fn delete_stream(
        &self,
        names: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.world.nature.broke(1, "the relay deletes from the store".into());
        self.world.objects.delete_stream(names)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.world.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.world.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.world.objects.copy_opts(from, to, options).await
    }
}

/// The queue, as far as the brake reaches it.
pub(crate) struct Brake(pub(crate) Arc<World>);

#[async_trait]
impl Queue for Brake {
    async fn delay(&self, delays: &[Delay]) -> Vec<bool> {
        let nature = &self.0.nature;
        nature.pass(nature.between(2, 60)).await;
        if nature.strikes(Fault::Panic) {
            resume_unwind(Box::new("planned"));
        }
        let mut done = vec![false; delays.len()];
        let failing = nature.strikes(Fault::DelayFails);
        if failing && nature.chance(0.3) {
            return done;
        }
        let now_ms = nature.now_ms();
        for (delay, done) in delays.iter().zip(&mut done) {
            *done = (!failing || nature.chance(0.5)) && self.0.queue().delay(&delay.handle, delay.seconds, now_ms);
            if *done {
                nature.sometimes(if delay.seconds > 360 { "brake: later" } else { "brake: sooner" });
            }
        }
        self.0.moved.notify_waiters();
        if failing && nature.chance(0.4) {
            return pending().await;
        }
        done
    }
}
