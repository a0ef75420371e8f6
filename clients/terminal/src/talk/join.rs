//! The side that comes.
//!
//! **Job.** Connect, talk, say how it ended. **Called by** the command line. **Calls** `connect`, `converse`.
//!
//! Not here: coming back by itself: when the other side has ended, so has the talk.

use super::Side;
use super::converse::{End, Peer, converse};
use crate::Failure;
use crate::address::Way;
use crate::connect;
use crate::console::{Input, Output};
use crate::interrupt::Interrupt;

/// Talks with whoever listens there, until one side ends.
///
/// # Errors
/// Nobody listens, somebody else is talking there, the connection was cut.
pub async fn join(to: &Way, side: &Side) -> Result<(), Failure> {
    let mut interrupt = Interrupt::new()?;
    let stream = tokio::select! {
        stream = connect::open(to, &side.trust, false) => stream?,
        () = interrupt.comes() => return Ok(()),
    };
    let output = Output::start()?;
    let mut input = Input::start()?;
    let peer = Peer::new(to.to_string());
    // Whether anybody sees it shows at the first line that comes.
    let _ = output.notice(format!("talking with {to}; /quit or Ctrl+D ends, /help tells more")).await;
    let end = converse(stream, &peer, side, &mut input, &output, &mut interrupt).await;
    let result = match end {
        End::Theirs => {
            let _ = output.notice(format!("{} has ended the talk", peer.label())).await;
            Ok(())
        }
        End::Ours | End::Unseen => Ok(()),
        End::Busy => Err(Failure::Busy { to: to.to_string() }),
        End::Cut(error) => Err(Failure::Cut { peer: peer.label(), error }),
    };
    output.finish().await;
    result
}
