//! Who may come in, and how many.

use crate::support::client::Client;
use crate::support::house::House;

fn site(server: &str, listen: &str) -> String {
    format!(
        "[server]\nworkers = 1\n{server}\n[site.main]\nlisten = {{ address = \"http://127.0.0.1:0\"{listen} }}\n\
         route = [{{ path = \"/*\", files = \"public\" }}]\n"
    )
}

fn from(source: &str, house: &House) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&format!("{source}:0").parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&house.address(0).into()).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    Client::over(std::net::TcpStream::from(socket))
}

const FILE: &[(&str, &[u8])] = &[("public/a.txt", b"alpha")];

// Goal: a listener takes only whom it may, by network; deny wins.
#[test]
fn a_listener_takes_only_allowed_addresses() {
    let house = House::start(&site("", ", allow = \"127.0.0.0/24\", deny = \"127.0.0.9\""), FILE);
    assert_eq!(from("127.0.0.5", &house).get("/a.txt").text(), "alpha");
    from("127.0.0.9", &house).closed();
    from("127.0.1.5", &house).closed();
}

// Goal: one address cannot take all places, and a place that is given back can be taken again.
#[test]
fn places_are_bounded_per_address_per_listener_and_in_all() {
    check(&site("connections_per_address_max = 3", ""), true);
    check(&site("", ", connections_max = 3"), false);
    check(&site("connections_max = 3", ""), false);

    #[track_caller]
    fn check(settings: &str, others_get_in: bool) {
        let house = House::start(settings, FILE);
        let mut held: Vec<Client> = (0..3).map(|_| from("127.0.0.5", &house)).collect();
        for client in &mut held {
            assert_eq!(client.get("/a.txt").text(), "alpha");
        }
        from("127.0.0.5", &house).closed();
        if others_get_in {
            assert_eq!(from("127.0.0.6", &house).get("/a.txt").text(), "alpha");
        } else {
            from("127.0.0.6", &house).closed();
        }
        drop(held);
        house.until(|| house.json("status")["connections"] == 0);
        assert_eq!(from("127.0.0.5", &house).get("/a.txt").text(), "alpha");
    }
}

// Goal: a route is for some networks only; the same path may fall to the next route for others.
#[test]
fn a_route_is_for_allowed_networks() {
    let settings = "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [\n\
        { path = \"/inside/*\", allow = \"127.0.0.5\", respond = \"inside\" },\n\
        { path = \"/which\", from = \"127.0.0.5\", respond = \"five\" },\n\
        { path = \"/which\", respond = \"other\" },\n]\n";
    let house = House::start(settings, FILE);
    assert_eq!(from("127.0.0.5", &house).get("/inside/x").text(), "inside");
    assert_eq!(from("127.0.0.6", &house).get("/inside/x").status, 403);
    assert_eq!(from("127.0.0.5", &house).get("/which").text(), "five");
    assert_eq!(from("127.0.0.6", &house).get("/which").text(), "other");
}

// Goal: IPv6 clients are known by their network too.
#[test]
fn ipv6_addresses_are_judged_as_networks() {
    let settings = site("", ", allow = \"::1\"").replace("127.0.0.1:0", "[::1]:0");
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // a machine without IPv6 cannot show it
    }
    let house = House::start(&settings, FILE);
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
}
