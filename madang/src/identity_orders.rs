//! What may be ordered about users and keys.
//!
//! **Job.** From an order and its JSON to an answer, on the running server or, where none runs, straight on the store. **Called by**
//! `run`, `cli::users`. **Calls** `madang_identity`.
//!
//! Invariants
//! 1. A password comes in a body only, never in a path; no answer holds one. A key is in the answer that made it and nowhere else.
//!
//! Not here: how commands ask and show (`cli::users`).

use std::time::Duration;

use madang_identity::{Identity, UserError, WantedKey};
use serde::Deserialize;
use serde_json::json;

use crate::control::Answer;

const JSON: &str = "application/json";

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityOrder {
    /// Users, a page of them: `after`.
    Users,
    /// A new one: `name`, `password`, `roles`.
    Add,
    /// `name`, `password`.
    Password,
    /// `name`, `roles`.
    Roles,
    /// `name`.
    Disable,
    /// `name`.
    Enable,
    /// Every login of `name` ends.
    Logout,
    /// `name`.
    Remove,
    /// Keys of `name`.
    Keys,
    /// A new one: `name`, `label`, `roles`, `lasts_s`.
    NewKey,
    /// `prefix`.
    RevokeKey,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    name: String,
    after: Option<String>,
    password: Option<String>,
    roles: Option<Vec<String>>,
    label: String,
    lasts_s: Option<u64>,
    prefix: String,
}

/// Does it. `None` for identity: nothing in the settings has to do with logins.
pub async fn order(identity: Option<&Identity>, order: IdentityOrder, text: &[u8]) -> Answer {
    let Some(identity) = identity else {
        return refuse(
            409,
            "logins-off",
            "the running server has no logins: its settings have no [identity]",
        );
    };
    let wanted: Result<Wanted, _> =
        if text.is_empty() { Ok(Wanted::default()) } else { serde_json::from_slice(text) };
    let Ok(wanted) = wanted else {
        return refuse(400, "malformed", "the body is not the JSON that is wanted");
    };
    match perform(identity, order, wanted).await {
        Ok(value) => (200, JSON, value.to_string()),
        Err(error) => refuse(error.status(), error.name(), &error.to_string()),
    }
}

async fn perform(
    identity: &Identity,
    order: IdentityOrder,
    wanted: Wanted,
) -> Result<serde_json::Value, UserError> {
    let Wanted { name, after, password, roles, label, lasts_s, prefix } = wanted;
    let user = match order {
        IdentityOrder::Users => return Ok(json!({ "users": identity.users(after.as_deref()).await? })),
        IdentityOrder::Keys => return Ok(json!({ "keys": identity.keys(&name).await? })),
        IdentityOrder::NewKey => {
            let lasts = lasts_s.map(Duration::from_secs);
            let made = identity.new_key(&name, WantedKey { label, roles, lasts }).await?;
            return Ok(json!({ "ok": true, "key": made.key, "view": made.view }));
        }
        IdentityOrder::RevokeKey => {
            identity.revoke_key(&prefix).await?;
            return Ok(json!({ "ok": true }));
        }
        IdentityOrder::Logout => {
            identity.logout_everywhere(&name).await?;
            identity.user(&name).await?
        }
        IdentityOrder::Add => {
            identity.add_user(&name, password.as_deref(), &roles.unwrap_or_default()).await?
        }
        IdentityOrder::Password => identity.set_password(&name, password.as_deref().unwrap_or("")).await?,
        IdentityOrder::Roles => identity.set_roles(&name, &roles.unwrap_or_default()).await?,
        IdentityOrder::Disable => identity.set_disabled(&name, true).await?,
        IdentityOrder::Enable => identity.set_disabled(&name, false).await?,
        IdentityOrder::Remove => identity.remove_user(&name).await?,
    };
    Ok(json!({ "ok": true, "user": user }))
}

fn refuse(status: u16, name: &str, message: &str) -> Answer {
    (status, JSON, json!({ "ok": false, "name": name, "message": message }).to_string())
}
