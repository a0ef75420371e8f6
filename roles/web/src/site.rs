//! A site on one worker and one listener: its settings made ready to run.
//!
//! **Job.** Hold everything a request of the site needs, in the form the pipeline uses.
//! **Made by** `web` from checked settings at start and on reload. **Read by** `phases`.
//!
//! Invariants
//! 1. Nothing here changes while requests run; a reload makes a new one.
//! 2. Making a site never fails: what cannot be opened answers with a named failure, and the rest of the site works.
//!
//! Not here: the settings themselves (`config`), what is shared between workers (`web::WebShared`).

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use madang_host::config::Listen;
use madang_host::net::listen::Address;

use crate::actions::Action;
use crate::auth::Auth;
use crate::config;
use crate::cors::Cors;
use crate::error_page::OwnPage;
use crate::limit::Limiter;
use crate::limit_fields::LimitFields;
use crate::routes::Index;
use crate::shape::{RouteShape, SiteShape};
use crate::web::Making;

/// The largest own error page that is taken, in bytes.
const PAGE_BYTES_MAX: u64 = 1024 * 1024;

/// A site, ready.
pub(crate) struct Site {
    pub(crate) name: Rc<str>,
    pub(crate) settings: Arc<config::Site>,
    pub(crate) index: Index,
    pub(crate) routes: Vec<RouteParts>,
    pub(crate) pages: Vec<OwnPage>,
    pub(crate) shape: SiteShape,
    /// Where plain requests are sent: the https port (443 is left out of addresses).
    pub(crate) https_port: Option<u16>,
}

/// What a route has beside its conditions.
pub(crate) struct RouteParts {
    pub(crate) action: Action,
    pub(crate) limits: Vec<Limit>,
    /// Names and passwords of its own; a rule by logins is read from the settings as it stands.
    pub(crate) auth: Option<Auth>,
    pub(crate) cors: Option<Cors>,
    pub(crate) shape: RouteShape,
}

/// A rate of a route.
pub(crate) struct Limit {
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) fields: LimitFields,
}

impl Site {
    pub(crate) fn new(settings: &Arc<config::Site>, listen: &Listen, making: &Making<'_>) -> Self {
        let parts = |(place, route): (usize, &config::Route)| RouteParts {
            action: Action::new(route, &settings.name, place, making),
            limits: route
                .limits
                .iter()
                .map(|rate| Limit {
                    limiter: making.shared.limiter(&settings.name, route, rate),
                    fields: LimitFields::new(rate),
                })
                .collect(),
            auth: match &route.auth {
                Some(config::Auth::Basic(basic)) => Some(Auth::new(basic)),
                _ => None,
            },
            cors: route.cors.as_ref().map(Cors::new),
            shape: RouteShape::new(route),
        };
        Self {
            name: Rc::from(&*settings.name),
            index: Index::new(&settings.routes),
            routes: settings.routes.iter().enumerate().map(parts).collect(),
            pages: settings.errors.iter().filter_map(|page| own_page(page, making)).collect(),
            shape: SiteShape::new(settings),
            https_port: https_port(settings).filter(|_| settings.https_redirect && !listen.secure),
            settings: Arc::clone(settings),
        }
    }

    /// A route's settings and parts.
    pub(crate) fn route(&self, place: usize) -> Option<(&config::Route, &RouteParts)> {
        Some((self.settings.routes.get(place)?, self.routes.get(place)?))
    }
}

/// The port of the site's https address; 443 where there are several and one of them has it.
fn https_port(site: &config::Site) -> Option<u16> {
    let ports =
        site.listen.iter().filter(|listen| listen.secure).filter_map(|listen| match &listen.address {
            Address::Tcp(address) => Some(address.port()),
            Address::Unix(_) | Address::Udp(_) => None,
        });
    ports.reduce(|first, next| if next == 443 { next } else { first })
}

fn own_page(page: &config::ErrorPage, making: &Making<'_>) -> Option<OwnPage> {
    let read = std::fs::metadata(&page.file).and_then(|meta| {
        if meta.len() > PAGE_BYTES_MAX {
            return Err(std::io::Error::other("larger than 1 MiB"));
        }
        std::fs::read(&page.file)
    });
    match read {
        Ok(body) => Some(OwnPage {
            status: page.status,
            whole_class: page.whole_class,
            body: Bytes::from(body),
            media_type: crate::files::media_type_of(&page.file),
        }),
        Err(error) => {
            making.trouble("error-page-unreadable", &format!("{}: {error}", page.file.display()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{listen, route, site};

    // Goal: plain requests are sent to the port that https really has.
    #[test]
    fn the_https_port_is_found_among_the_addresses() {
        check(&["http://127.0.0.1:80"], None);
        check(&["http://127.0.0.1:80", "https://127.0.0.1:8443"], Some(8443));
        check(&["https://127.0.0.1:8443", "https://127.0.0.1:443"], Some(443));
        check(&["https://127.0.0.1:8443", "https://127.0.0.1:9443"], Some(8443));

        #[track_caller]
        fn check(addresses: &[&str], want: Option<u16>) {
            let mut site = site(vec![route()]);
            site.listen = addresses.iter().map(|address| listen(address)).collect();
            assert_eq!(https_port(&site), want);
        }
    }
}
