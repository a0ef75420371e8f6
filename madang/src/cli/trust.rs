//! `madang trust` and `madang hash`.
//!
//! **Job.** Tell how to trust the local authority; make password hashes. **Called by** `cli`.
//!
//! Not here: issuing (`host::tls::local_ca`), checking passwords (`roles/web`).

use std::io::Read;
use std::path::Path;

use madang_host::tls::local_ca;

use super::{Ended, complain, folder};

/// Prints how to install the root certificate.
pub(super) fn trust(settings: &Path) -> Ended {
    let data = if settings.is_file() { crate::config::data_folder(settings) } else { folder::own_data() };
    let root = data.join("ca/root.pem");
    if !root.is_file() {
        complain(&format!(
            "there is no local authority yet ({}); it is made at the first start of a site with tls = \"local\", or by `madang --tls`",
            root.display()
        ));
        return Ended::Failed;
    }
    let root = std::fs::canonicalize(&root).unwrap_or(root);
    super::put(&local_ca::trust_instructions(&root));
    Ended::Done
}

/// Reads a password from standard input, prints its hash.
pub(super) fn hash() -> Ended {
    let mut password = String::new();
    if std::io::stdin().lock().take(4096).read_to_string(&mut password).is_err() {
        complain("the password is not text");
        return Ended::Usage;
    }
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        complain("no password came: printf '%s' 'the password' | madang hash");
        return Ended::Usage;
    }
    match madang_web::hash_password(password) {
        Ok(hash) => {
            say!("{hash}");
            Ended::Done
        }
        Err(error) => {
            complain(&error.to_string());
            Ended::Failed
        }
    }
}
