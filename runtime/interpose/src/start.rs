//! The library's beginning in a process: settings from the environment, the broker, which is started if it is not there.

use std::sync::{Mutex, PoisonError};

use rsc_proto::v1::BrokerSettings;
use rsc_sdk::Error;
use rsc_sdk::broker::terms::Terms;
use rsc_sdk::broker::{environment, fds};
use rsc_sdk::sys::local;

use crate::sys::{exports, programs};
use crate::{region, route};

/// What the program has said, or the environment.
static SETTINGS: Mutex<Option<BrokerSettings>> = Mutex::new(None);

/// Begins to have calls decided as the environment says. Runs before the program's own code.
pub fn begin() {
    programs::watch_forks();
    if region::outside().is_some() {
        return;
    }
    let settings = environment::settings();
    if settings.sentry.is_empty() || (settings.rules.is_empty() && settings.syscalls.is_empty()) {
        // Its children need not say it too.
        if local::mark(c"RSC_PRELOAD_IDLE") {
            local::say(
                "librsc_preload: RSC_SENTRY and one of RSC_RULES and RSC_SYSCALLS are needed; everything runs here\n",
            );
        }
        return;
    }
    let socket = environment::socket();
    match Terms::of(&socket, settings).and_then(|terms| terms.open().map(|()| terms)) {
        Ok(terms) => {
            route::learn();
            region::set_outside(terms, true);
            exports::take_over_standard();
        }
        Err(why) => {
            local::say(&format!("librsc_preload: {why}\n"));
            local::exit(125);
        }
    }
}

/// Begins to look after remote descriptors, if the environment names a sentry; nothing else is asked about outside of regions.
pub fn begin_without_region() {
    programs::watch_forks();
    let settings = environment::settings();
    // A library that was preloaded has begun already, on the same settings.
    if region::outside().is_none() && !settings.sentry.is_empty() {
        let _ = settle(settings);
    }
}

/// Has the settings be the process's, with their rules in regions only.
pub(crate) fn settle(settings: BrokerSettings) -> Result<(), Error> {
    if settings.sentry.is_empty() {
        return Err(Error::NoServerNamed);
    }
    let plain = BrokerSettings { rules: String::new(), syscalls: String::new(), ..settings.clone() };
    let terms = Terms::of(&environment::socket(), plain)?;
    match region::outside() {
        Some(outside) if !is_same_session(outside.settings(), &settings) && fds::any_remote() => {
            return Err(Error::OtherServer);
        }
        // Preloaded, it decides everywhere, as the user has it.
        Some(outside) if is_same_session(outside.settings(), &settings) => {}
        _ => {
            route::learn();
            region::set_outside(terms, false);
        }
    }
    *SETTINGS.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
    Ok(())
}

/// The process's settings: those that it has given, or those of the environment.
pub(crate) fn settings() -> Result<BrokerSettings, Error> {
    let known = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match known {
        Some(settings) => Ok(settings),
        None => {
            let settings = environment::settings();
            settle(settings.clone()).map(|()| settings)
        }
    }
}

/// Whether descriptors of the one mean something to the other.
fn is_same_session(one: &BrokerSettings, other: &BrokerSettings) -> bool {
    let bare = |settings: &BrokerSettings| BrokerSettings {
        rules: String::new(),
        syscalls: String::new(),
        explicit: false,
        ..settings.clone()
    };
    bare(one) == bare(other)
}
