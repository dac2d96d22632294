//! Agents.

use atoll_testkit::{Request, World};

use crate::support::fixture;

#[test]
fn an_agent_says_when_to_be_woken() {
    let agent = fixture("agent_tick").given(World::new()).unwrap();
    assert_eq!(agent.tick(1_700_000_000).unwrap(), Some(1_700_003_600));
    assert_eq!(agent.log(), ["tick at 1700000000: nothing due"]);
    let wrong = agent.handle(&Request::get("/")).unwrap_err().to_string();
    assert_eq!(wrong, "no response: its role is agent: it is not a service");
}
