//! The certificates of one policy: chosen by name during a handshake, swapped when their files change.
//!
//! **Job.** Keep checked pairs behind a resolver that rustls asks, and follow their files.
//! **Called by** `policy`, the control side's watch. **Calls** `pair`, `names`, `watch`.
//!
//! Invariants
//! 1. A certificate and its key are swapped together; a failed reload keeps the old pair.
//! 2. A client gets a certificate it can use where one of its name exists: elliptic before RSA, RSA for those who
//!    take nothing else.
//!
//! Not here: what makes a pair good (`pair`), names to sites (`policy`), the local CA (`local_ca`).

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use super::names::name_matches;
use super::names::{NameIndex, normal};
pub use super::pair::{CertificateError, Pair, Weakness};
use super::watch::Stamp;

/// Where a pair comes from, to notice when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Source {
    fn stamps(&self) -> [Stamp; 2] {
        [Stamp::of(&self.certificate), Stamp::of(&self.key)]
    }
}

struct Entry {
    /// `None`: made here.
    file: Option<File>,
    pair: Pair,
}

struct File {
    source: Source,
    stamps: [Stamp; 2],
    /// Stamps under which the two files did not belong together: the second of them may be on its way.
    halfway: Option<[Stamp; 2]>,
}

#[derive(Default)]
struct Shelf {
    entries: Vec<Entry>,
    index: NameIndex,
}

impl Shelf {
    fn new(entries: Vec<Entry>) -> Self {
        let mut shelf = Self { entries, index: NameIndex::default() };
        shelf.file_names();
        shelf
    }

    fn file_names(&mut self) {
        self.index = NameIndex::default();
        for (number, entry) in self.entries.iter().enumerate() {
            for name in &entry.pair.names {
                self.index.insert(name, number);
            }
        }
    }

    /// Exact name, then wildcard, then the first certificate of the settings: a client with an unknown name sees a
    /// certificate it can complain about instead of a broken handshake. Within each, what the client can use.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Pair> {
        let best = |numbers: &[usize]| {
            let usable = numbers
                .iter()
                .map(|number| &self.entries[*number].pair)
                .filter(|pair| pair.usable_with(schemes));
            // The first of the best: min keeps the earlier of two equals.
            usable.min_by_key(|pair| !pair.is_elliptic())
        };
        let named = name.and_then(|name| {
            let (exact, wildcard) = (self.index.exact(name), self.index.wildcard(name));
            best(exact).or_else(|| best(wildcard)).or_else(|| {
                // None of them suits the client: the handshake fails, and says so by the right name.
                let first = exact.first().or(wildcard.first())?;
                Some(&self.entries[*first].pair)
            })
        });
        named.or_else(|| {
            // As many names as the first one has, in the kind that suits the client.
            let first = &self.entries.first()?.pair;
            let twins = self.entries.iter().map(|entry| &entry.pair);
            let twins = twins.filter(|pair| pair.names == first.names && pair.usable_with(schemes));
            Some(twins.min_by_key(|pair| !pair.is_elliptic()).unwrap_or(first))
        })
    }
}

/// The certificates of one policy. Handshakes read it; the control side swaps pairs in it.
pub struct CertificateStore {
    shelf: RwLock<Shelf>,
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateStore")
    }
}

impl CertificateStore {
    /// From files; all errors at once.
    pub fn from_files(sources: &[Source], now: SystemTime) -> Result<Arc<Self>, Vec<CertificateError>> {
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        for source in sources {
            // Looked at before it is read: a change in between is seen by the next look.
            let stamps = source.stamps();
            match Pair::load(&source.certificate, &source.key, now) {
                Ok(pair) => {
                    let file = File { source: source.clone(), stamps, halfway: None };
                    entries.push(Entry { file: Some(file), pair });
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self::of(entries)) } else { Err(errors) }
    }

    /// From a pair made here (the local CA's).
    pub fn from_pair(pair: Pair) -> Arc<Self> {
        Self::of(vec![Entry { file: None, pair }])
    }

    fn of(entries: Vec<Entry>) -> Arc<Self> {
        Arc::new(Self { shelf: RwLock::new(Shelf::new(entries)) })
    }

    /// Replaces the pair made here by a newer one.
    pub fn replace_made(&self, pair: Pair) {
        let mut shelf = self.write();
        if let Some(entry) = shelf.entries.iter_mut().find(|entry| entry.file.is_none()) {
            entry.pair = pair;
            shelf.file_names();
        }
    }

    /// When the pair made here ends (seconds since 1970); `None` where all come from files.
    pub fn made_expires(&self) -> Option<u64> {
        self.read().entries.iter().find(|entry| entry.file.is_none()).map(|entry| entry.pair.expires)
    }

    /// Reads again whatever changed on disk. A pair that cannot be used keeps its predecessor and is told once per change.
    ///
    /// Two files are never replaced at one instant: a pair that does not belong together is looked at once more before it
    /// is told.
    pub fn reload_changed(&self, now: SystemTime) -> Vec<Result<Source, CertificateError>> {
        let changed: Vec<(usize, Source, [Stamp; 2])> = {
            let shelf = self.read();
            let stamped = shelf.entries.iter().enumerate().filter_map(|(number, entry)| {
                let file = entry.file.as_ref()?;
                let stamps = file.source.stamps();
                (stamps != file.stamps).then(|| (number, file.source.clone(), stamps))
            });
            stamped.collect()
        };
        let mut told = Vec::new();
        for (number, source, stamps) in changed {
            // Outside the lock: handshakes never wait for a disk.
            let loaded = Pair::load(&source.certificate, &source.key, now);
            let mut shelf = self.write();
            let Some(entry) = shelf.entries.get_mut(number) else { continue };
            let Some(file) = entry.file.as_mut() else { continue };
            let first_look = file.halfway != Some(stamps);
            if matches!(loaded, Err(CertificateError::Mismatch { .. })) && first_look {
                file.halfway = Some(stamps);
                continue;
            }
            (file.stamps, file.halfway) = (stamps, None);
            match loaded {
                Ok(pair) => {
                    entry.pair = pair;
                    shelf.file_names();
                    told.push(Ok(source));
                }
                Err(error) => told.push(Err(error)),
            }
        }
        told
    }

    /// Every pair's names and end, for `status` and metrics.
    pub fn pairs(&self) -> Vec<Pair> {
        self.read().entries.iter().map(|entry| entry.pair.clone()).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.shelf.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(normal);
        // What the client can verify, already narrowed by rustls to its version and cipher suites.
        let schemes = hello.signature_schemes();
        self.read().choose(name.as_deref(), schemes).map(|pair| Arc::clone(&pair.key))
    }
}
