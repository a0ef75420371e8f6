//! Programs that post by URL.
//!
//! **Job.** Say who such a program is, how fast it may be, and make its room. **Called by** `hub`. **Calls** the store.
//!
//! Invariants
//! 1. It says something in the room of its settings, and does nothing else.
//!
//! Not here: the token (`web::posts`).

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use madang_host::clock;

use super::Hub;
use super::state::{Asker, Kind};
use crate::ask::Ask;
use crate::event::{Person, PersonId, What};
use crate::names;
use crate::pace::Pace;
use crate::refusal::Refusal;

/// How much each may still post.
pub(super) type Paces = HashMap<Arc<str>, Pace>;

impl Hub {
    /// Whoever posts by a way of this name; its room is there afterwards.
    ///
    /// # Errors
    /// [`Refusal::TooFast`], [`Refusal::NameTaken`], …
    pub(super) async fn poster(
        self: &Rc<Self>,
        post: &Arc<str>,
        wished: Option<String>,
        ask: &Ask,
    ) -> Result<Asker, Refusal> {
        let Ask::Send(send) = ask else {
            return Err(Refusal::NotAllowed { who_may: "people, not programs that post," });
        };
        self.paced(post)?;
        let name = match wished.map(|name| names::person(&name)).transpose()? {
            Some(name) if *name != **post => {
                // Nobody else's: not now, and not while they are away.
                let folded = names::fold(&name);
                self.name_is_free(&name, &folded).await?;
                if self.guest(&folded).await?.is_some() {
                    return Err(Refusal::NameTaken { name });
                }
                name
            }
            _ => Arc::clone(post),
        };
        let person = Person { id: PersonId(format!("b:{post}").into()), name };
        // The operator has named its room: whatever holds there for others.
        let asker = Asker { person, admin: true, session: None };
        let (key, side) = self.find(&asker, &send.room).await?;
        let lacks = self
            .state
            .borrow()
            .rooms
            .get(key)
            .is_some_and(|room| matches!(room.kind, Kind::Room) && !room.law.exists);
        if lacks {
            // Nobody's: whoever wants it in order asks an admin.
            let nobody = Person { id: PersonId("".into()), name: Arc::clone(&asker.person.name) };
            let maker = Asker { person: nobody, admin: true, session: None };
            self.write(&maker, key, side, What::Created { private: false, invite_only: false }, None, None);
        }
        Ok(asker)
    }

    fn paced(&self, post: &Arc<str>) -> Result<(), Refusal> {
        let rule = self.state.borrow().rules.posts.iter().find(|rule| rule.name == *post).cloned();
        // Taken out of the settings a moment ago.
        let Some(rule) = rule else { return Err(Refusal::BadToken) };
        let now = clock::now();
        let mut paces = self.paces.borrow_mut();
        let pace = paces.entry(Arc::clone(post)).or_insert_with(|| Pace::new(rule.rate, now));
        pace.take(rule.rate, now).map_err(|wait| Refusal::TooFast {
            again_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1),
        })
    }

    /// Whether a program posts under this folded name.
    pub(super) fn is_posters(&self, folded: &str) -> bool {
        self.state.borrow().rules.posts.iter().any(|rule| names::fold(&rule.name) == folded)
    }
}
