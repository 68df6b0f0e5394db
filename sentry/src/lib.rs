//! rsc sentry.
