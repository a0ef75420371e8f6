//! Names to addresses.
//!
//! **Job.** Ask the system's resolver (getaddrinfo(3): hosts file, DNS, whatever the machine uses). **Called by** whoever
//! connects to names. **Calls** tokio's resolver, which waits on a blocking thread.
//!
//! Not here: when to ask again (the caller).

use std::io;
use std::net::SocketAddr;

/// Every address of a name, both versions, sorted so that two answers of the same content are the same.
pub async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    found.sort();
    found.dedup();
    Ok(found)
}
