//! The library's beginning in a process: settings from the environment, the broker, which is started if it is not there.

use rsc_proto::v1::BrokerSettings;
use rsc_sdk::broker::environment;
use rsc_sdk::broker::link::Broken;
use rsc_sdk::broker::terms::Terms;
use rsc_sdk::sys::local;

use crate::sys::{exports, programs};
use crate::{region, route};

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
    let Some(terms) = Terms::of(&socket, settings) else { return };
    match terms.open() {
        Ok(()) => {
            route::learn();
            region::set_outside(terms, true);
            exports::take_over_standard();
        }
        Err(why) => {
            let why = match why {
                Broken::Refused(why) => why,
                Broken::Lost => {
                    let path = socket.to_string_lossy();
                    format!("no broker answers at {path}; start one by `rsc-runtime broker` to see why")
                }
            };
            local::say(&format!("librsc_preload: {why}\n"));
            local::exit(125);
        }
    }
}

/// Begins to look after remote descriptors, if the environment names a sentry; nothing else is asked about outside of regions.
pub fn begin_without_region() {
    programs::watch_forks();
    let settings = environment::settings();
    if !settings.sentry.is_empty() {
        settle(&settings);
    }
}

/// Has the settings be the process's, with their rules in regions only. `None`: it has others already.
pub(crate) fn settle(settings: &BrokerSettings) -> Option<&'static Terms> {
    let plain = BrokerSettings { rules: String::new(), syscalls: String::new(), ..settings.clone() };
    let terms = Terms::of(&environment::socket(), plain)?;
    route::learn();
    region::set_outside(terms, false).then_some(terms)
}
