//! The trace that Lambda begins goes on to m3ter.

use std::collections::BTreeSet;

use crate::usage::body;
use crate::world::World;

/// Trace-ids of the requests from the `since`th on.
fn trace_ids(world: &World, since: usize) -> Vec<String> {
    let requests = world.ledger().requests.split_off(since);
    let header = |request: m3ter_sandbox::RequestLine| request.traceparent.expect("a traceparent");
    let trace_id = |header: String| match header.split('-').collect::<Vec<_>>()[..] {
        ["00", trace_id, span, flags] => {
            assert_eq!((span.len(), flags.len()), (16, 2), "{header}");
            trace_id.to_owned()
        }
        _ => panic!("{header} is no trace context"),
    };
    requests.into_iter().map(header).map(trace_id).collect()
}

#[tokio::test]
async fn all_requests_of_an_invocation_carry_its_x_ray_root_and_another_invocation_another_one() {
    let mut world = World::start().await;
    let mut roots = BTreeSet::new();
    for name in ["first", "second"] {
        let before = world.ledger().requests.len();
        let bodies: Vec<_> = world.usage.many(name, 2_500).chunks(250).map(body).collect();
        let delivery = world.send(bodies).await;
        let root = delivery.invocation.trace_id.strip_prefix("Root=1-").unwrap();
        let root = root.split(';').next().unwrap().replace('-', "");
        assert_eq!(trace_ids(&world, before), [root.as_str(); 3]);
        roots.insert(root);
    }
    assert_eq!(roots.len(), 2);
}
