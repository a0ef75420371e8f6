//! Which apps wait for which others.
//!
//! **Job.** Say who is ready, and who cannot start because of whom. **Called by** `keeper`.
//!
//! Not here: the order itself (`config` refuses circles), starting (`app`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Kept;
use crate::app::Mode;

/// Those that others need not wait for.
pub(super) fn ready(apps: &BTreeMap<Arc<str>, Kept>) -> BTreeSet<Arc<str>> {
    apps.iter().filter(|(_, kept)| kept.app.is_ready()).map(|(name, _)| Arc::clone(name)).collect()
}

/// Each that waits, for whom, and whether those have failed: where some have, only they are named.
pub(super) fn blocked(apps: &BTreeMap<Arc<str>, Kept>) -> Vec<(Arc<str>, Vec<Arc<str>>, bool)> {
    let waits = apps.iter().filter(|(_, kept)| *kept.app.mode() == Mode::Waiting);
    let each = waits.map(|(name, kept)| {
        let after = &kept.app.settings().after;
        let missing = apps
            .iter()
            .filter(|(other, kept)| !kept.app.is_ready() && after.iter().any(|after| **after == ***other));
        let (failed, others): (Vec<_>, Vec<_>) =
            missing.partition(|(_, kept)| matches!(kept.app.mode(), Mode::Failed(_)));
        let has_failed = !failed.is_empty();
        let named = if has_failed { failed } else { others };
        (Arc::clone(name), named.into_iter().map(|(other, _)| Arc::clone(other)).collect(), has_failed)
    });
    each.collect()
}
