//! Generic commands.

use crate::Session;

#[test]
fn an_unknown_command_is_refused_in_redis_words() {
    let mut session = Session::new();
    session.check(&[
        ("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' \r\n"),
        ("NOSUCH \"a\\r\\nb\"", "-ERR unknown command 'NOSUCH', with args beginning with: 'a  b' \r\n"),
    ]);
    assert!(session.effects().is_empty() && session.events().is_empty());
}
