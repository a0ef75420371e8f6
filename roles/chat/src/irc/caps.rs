//! What a client may switch on (IRCv3 capability negotiation, version 302).
//!
//! **Job.** The table of capabilities, and which of them one connection has. **Called by** `register`, and by whoever writes a line
//! that looks different with one of them.
//!
//! Invariants
//! 1. A REQ is done as a whole or not at all.
//!
//! Not here: the commands that a capability brings (the files of those commands).

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cap {
    /// Told when somebody logs in or out. Here names are fixed while connected: nothing is ever told.
    AccountNotify,
    /// Messages bear the account of whoever wrote them.
    AccountTag,
    /// Told when somebody goes away.
    AwayNotify,
    /// Several lines that belong together say so.
    Batch,
    /// Told when capabilities change.
    CapNotify,
    /// `CHATHISTORY`.
    ChatHistory,
    /// One's own messages come back.
    EchoMessage,
    /// `JOIN` with account and real name.
    ExtendedJoin,
    /// Told when somebody is invited to a room.
    InviteNotify,
    /// An answer bears the label of its command.
    LabeledResponse,
    /// `REDACT`: deleted messages are told.
    MessageRedaction,
    /// Tags of clients are passed on, messages have a `msgid`.
    MessageTags,
    /// A message of several lines is one.
    Multiline,
    /// All prefixes in `NAMES` and `WHO`.
    MultiPrefix,
    /// No `NAMES` after `JOIN`.
    NoImplicitNames,
    /// `MARKREAD`: how far one has read.
    ReadMarker,
    /// `AUTHENTICATE`.
    Sasl,
    /// When something was said.
    ServerTime,
    /// `SETNAME`.
    SetName,
    /// `FAIL`, `WARN` and `NOTE` are understood.
    StandardReplies,
    /// `nick!user@host` in `NAMES`.
    UserhostInNames,
}

use Cap::{
    AccountNotify, AccountTag, AwayNotify, Batch, CapNotify, ChatHistory, EchoMessage, ExtendedJoin,
    InviteNotify, LabeledResponse, MessageRedaction, MessageTags, MultiPrefix, Multiline, NoImplicitNames,
    ReadMarker, Sasl, ServerTime, SetName, StandardReplies, UserhostInNames,
};

/// Everything there is, by the name on the wire.
pub const CAPS: &[(Cap, &str)] = &[
    (AccountNotify, "account-notify"),
    (AccountTag, "account-tag"),
    (AwayNotify, "away-notify"),
    (Batch, "batch"),
    (CapNotify, "cap-notify"),
    (ChatHistory, "draft/chathistory"),
    (EchoMessage, "echo-message"),
    (ExtendedJoin, "extended-join"),
    (InviteNotify, "invite-notify"),
    (LabeledResponse, "labeled-response"),
    (MessageRedaction, "draft/message-redaction"),
    (MessageTags, "message-tags"),
    (Multiline, "draft/multiline"),
    (MultiPrefix, "multi-prefix"),
    (NoImplicitNames, "draft/no-implicit-names"),
    (ReadMarker, "draft/read-marker"),
    (Sasl, "sasl"),
    (ServerTime, "server-time"),
    (SetName, "setname"),
    (StandardReplies, "standard-replies"),
    (UserhostInNames, "userhost-in-names"),
];

/// Those that one connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps(u32);

impl Caps {
    /// Whether this one is switched on.
    pub fn has(self, cap: Cap) -> bool {
        self.0 & (1 << cap as u8) != 0
    }

    /// Switches it on.
    pub fn with(self, cap: Cap) -> Self {
        Self(self.0 | 1 << cap as u8)
    }

    fn without(self, cap: Cap) -> Self {
        Self(self.0 & !(1 << cap as u8))
    }

    /// What `CAP REQ` asks for, `-` before those to be switched off; `None`: one of them is not offered, and nothing changes.
    pub fn requested(self, list: &str, offered: impl Fn(Cap) -> bool) -> Option<Self> {
        list.split(' ').filter(|word| !word.is_empty()).try_fold(self, |caps, word| {
            let (off, name) = word.strip_prefix('-').map_or((false, word), |name| (true, name));
            let (cap, _) = CAPS.iter().find(|(cap, have)| *have == name && offered(*cap))?;
            Some(if off { caps.without(*cap) } else { caps.with(*cap) })
        })
    }

    /// Their names.
    pub fn names(self) -> String {
        let on = CAPS.iter().filter(|(cap, _)| self.has(*cap)).map(|(_, name)| *name);
        on.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a REQ is done as a whole or not at all, and can take back.
    #[test]
    fn a_request_is_done_as_a_whole() {
        check("", "batch sasl", Some("batch sasl"));
        check("batch", "-batch server-time ", Some("server-time"));
        check("batch", "server-time nothing", None);
        check("", "-nothing", None);
        check("batch", "", Some("batch"));
        check("", "cap-notify", None);

        #[track_caller]
        fn check(had: &str, list: &str, want: Option<&str>) {
            let offered = |cap| cap != Cap::CapNotify;
            let had = Caps::default().requested(had, offered).unwrap();
            assert_eq!(had.requested(list, offered).map(Caps::names).as_deref(), want);
        }
    }
}
