//! The settings of a machine that has none.
//!
//! **Job.** Say something at port 80, so that the first look shows a server. Pure. **Called by** `install`. **Calls** nothing.
//!
//! Not here: settings made from a project's folder (`init`).

use std::path::Path;

/// A settings file with the data at `data`. `ipv6`: the machine has it.
pub(super) fn settings(data: &Path, ipv6: bool) -> String {
    let listen = if ipv6 { "[\"http://0.0.0.0:80\", \"http://[::]:80\"]" } else { "\"http://0.0.0.0:80\"" };
    format!(
        "# The settings of this machine's server. After a change: madang check -c FILE, then systemctl reload madang.\n\
         # Every setting: `madang schema --docs`.\n\n\
         [server]\n\
         data = \"{}\"\n\n\
         [site.main]\n\
         listen = {listen}\n\
         route = [\n  \
           # {{ path = \"/*\", files = \"/srv/www\" }},\n  \
           {{ path = \"/*\", respond = \"Madang runs here. Its settings are in /etc/madang/madang.toml.\\n\" }},\n\
         ]\n",
        data.display()
    )
}
