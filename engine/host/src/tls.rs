//! placeholder until the tls folder lands
/// facts
#[derive(Debug, Clone)]
pub struct TlsFacts { /// version
 pub version: &'static str }
