//! On what terms a thread's calls are asked about: the settings that the broker is told, and which calls it wants to hear of.

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rsc_proto::v1::BrokerSettings;

use super::ask;
use super::link::Broken;
use crate::Error;
use crate::sys::local;

/// Calls below this are known.
const CALLS: usize = 512;
/// Different terms at most: they live as long as the process.
const TERMS_MAX: usize = 256;

/// See the module. One for each combination of settings.
#[derive(Debug)]
pub struct Terms {
    socket: CString,
    settings: BrokerSettings,
    /// What rules concern: bit N of word M is call 64 M + N.
    concerned: [AtomicU64; CALLS / 64],
}

static ALL: Mutex<Vec<&'static Terms>> = Mutex::new(Vec::new());

impl Terms {
    /// The terms for these settings, with the broker at this socket.
    pub fn of(socket: &CStr, settings: BrokerSettings) -> Result<&'static Terms, Error> {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|terms| terms.socket.as_c_str() == socket && terms.settings == settings) {
            return Ok(known);
        }
        if all.len() >= TERMS_MAX {
            return Err(Error::TooMany);
        }
        let terms = Terms { socket: socket.to_owned(), settings, concerned: Default::default() };
        let terms: &'static Terms = Box::leak(Box::new(terms));
        all.push(terms);
        Ok(terms)
    }

    /// The broker's socket.
    pub fn socket(&self) -> &CStr {
        &self.socket
    }

    /// What the broker is told.
    pub fn settings(&self) -> &BrokerSettings {
        &self.settings
    }

    /// Opens this thread's connection, unless there is one. Without a broker one is started.
    pub fn open(&'static self) -> Result<(), Error> {
        let opened = match ask::open(self) {
            Err(Broken::Lost) if local::start_broker() => ask::open(self),
            opened => opened,
        };
        opened.map_err(|broken| Error::of(broken, &self.socket))
    }

    /// Takes over which calls the broker wants to hear of.
    pub(super) fn learn(&self, concerned: &[u64]) {
        self.concerned.iter().zip(concerned).for_each(|(slot, word)| slot.store(*word, Ordering::Relaxed));
    }

    /// Whether rules may have a call be carried out there.
    pub fn concerns(&self, number: u32) -> bool {
        let word = self.concerned.get(number as usize / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (number % 64)) != 0)
    }
}
