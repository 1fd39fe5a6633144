use crds::conditions::{ExperimentConditionType as Type, ExperimentStalledReason as Stalled};
use crds::v1alpha1::ab_experiment::status::{Phase, Verdict};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::super::testing::{World, at, design, goal, users};
use super::*;

const HOUR: i64 = 3600;

/// Running, with so many users and clicks by arm.
fn running(patch: &Value, arms: &[(u64, u64)]) -> World {
    let mut world = World::new(patch);
    world.step();
    world.dealt = true;
    world.totals = Some(users(arms).totals(&design(patch)));
    world
}

fn phase(world: &World) -> Phase {
    let status = world.experiment.status.as_ref().unwrap();
    status.phase.as_ref().unwrap().known().unwrap()
}

fn condition(world: &World, kind: Type) -> (String, String) {
    let found = world.experiment.condition(kind).unwrap();
    (found.status.clone(), found.reason.clone())
}

fn verdict(world: &World) -> Option<Verdict> {
    let status = world.experiment.status.as_ref()?;
    status.decision.as_ref()?.verdict.as_ref()?.known()
}

fn answered(world: &World) -> (String, String) {
    let status = world.experiment.status.as_ref().unwrap();
    let last = status.last_command.as_ref().unwrap();
    (last.result.clone(), last.message.clone())
}

const WON: [(u64, u64); 2] = [(5_000, 500), (5_000, 700)];
const EQUAL: [(u64, u64); 2] = [(5_000, 500), (5_000, 505)];
const LOST: [(u64, u64); 2] = [(5_000, 700), (5_000, 500)];

#[test]
fn a_winner_waits_for_approval_is_rolled_out_and_nobody_changes_arm_on_the_way() {
    let mut world = running(&json!({}), &WON);
    world.now = 2 * HOUR;
    assert!(world.step().in_force);
    assert_eq!(
        (phase(&world), verdict(&world)),
        (Phase::Decided, Some(Verdict::Promote))
    );
    assert_eq!(condition(&world, Type::Paused).1, "AwaitingApproval");
    world.command("approve/v2/1");
    let step = world.step();
    assert!(step.in_force);
    assert_eq!(step.standing, Standing::Applying);
    world.promotion = Promotion::Done("v2".to_owned());
    let step = world.step();
    assert_eq!((step.standing, step.in_force), (Standing::Applied, false));
    assert_eq!(
        condition(&world, Type::Applied),
        ("True".to_owned(), "Promoted".to_owned())
    );
    // The endpoint has another revision now: that is no new epoch.
    world.models.get_mut("m1").unwrap().revision = Some("dddddddddd".to_owned());
    assert_eq!(world.step().standing, Standing::Applied);
}

#[rstest]
#[case::report(json!({"decision": {"onWin": "Report"}}), &WON, 2, Verdict::Promote, Phase::Applied, true, "Reported")]
#[case::lost(json!({}), &LOST, 0, Verdict::RollBack, Phase::Decided, false, "RolledBack")]
#[case::lost_report(json!({"decision": {"onLoss": "Report"}}), &LOST, 0, Verdict::RollBack, Phase::Applied, true, "Reported")]
#[case::time(json!({}), &EQUAL, 24, Verdict::Inconclusive, Phase::Decided, false, "KeptControl")]
#[case::time_report(json!({"decision": {"onInconclusive": "Report"}}), &EQUAL, 24, Verdict::Inconclusive, Phase::Applied, true, "Reported")]
#[case::invalid(json!({}), &[(400, 40), (0, 0)], 0, Verdict::Invalid, Phase::Decided, false, "KeptControl")]
fn what_follows_from_a_verdict(
    #[case] patch: Value,
    #[case] arms: &[(u64, u64)],
    #[case] hours: i64,
    #[case] expected: Verdict,
    #[case] then: Phase,
    #[case] in_force: bool,
    #[case] applied: &str,
) {
    let mut world = running(&patch, arms);
    world.now = hours * HOUR;
    let step = world.step();
    assert_eq!(
        (verdict(&world), phase(&world), step.in_force),
        (Some(expected), then, in_force)
    );
    assert_eq!(condition(&world, Type::Applied).1, applied);
    // Once no router deals by it, it is done.
    world.dealt = false;
    world.step();
    assert_eq!(
        (phase(&world), verdict(&world)),
        (Phase::Applied, Some(expected))
    );
    assert_eq!(condition(&world, Type::Complete).0, "True");
}

#[test]
fn the_second_of_two_experiments_waits_and_says_for_whom() {
    // growthbook-swift#125
    let rival = |name: &str, has_begun| Rival {
        name: name.to_owned(),
        created: Some(at(-5)),
        has_begun,
    };
    let mut world = World::new(&json!({}));
    world.rivals = vec![rival("older", false)];
    let step = world.step();
    assert!(
        matches!(&step.standing, Standing::Stalled(Stalled::EndpointConflict, why) if why.contains("older"))
    );
    assert!(!step.in_force);
    world.rivals.clear();
    assert_eq!(world.step().standing, Standing::Running);
    // One that runs is not put out by an older one that was restored later.
    world.rivals = vec![rival("older", false)];
    assert_eq!(world.step().standing, Standing::Running);
}

#[test]
fn one_with_a_verdict_is_in_the_way_until_what_follows_is_done() {
    let mut world = running(&json!({}), &WON);
    let rival = |world: &World| Rival::of(&world.experiment).map(|rival| rival.has_begun);
    assert_eq!(rival(&world), Some(true));
    world.now = 2 * HOUR;
    world.step();
    assert_eq!((phase(&world), rival(&world)), (Phase::Decided, Some(true)));
    world.command("approve/1");
    world.step();
    world.promotion = Promotion::Done("v2".to_owned());
    world.step();
    assert_eq!((phase(&world), rival(&world)), (Phase::Applied, None));
    // One that only reports goes on dealing.
    let mut report = running(&json!({"decision": {"onLoss": "Report"}}), &LOST);
    report.step();
    assert_eq!(
        (phase(&report), rival(&report)),
        (Phase::Applied, Some(true))
    );
    // One that cannot begin as it is does not keep others waiting.
    let mut invalid = World::new(&json!({"control": "v2"}));
    assert_eq!(rival(&invalid), Some(false));
    invalid.step();
    assert_eq!(rival(&invalid), None);
    assert_eq!(rival(&World::new(&json!({"suspend": true}))), None);
}

#[test]
fn an_experiment_that_no_router_takes_is_told_and_deals_nobody() {
    let errors = json!({
        "name": "errors", "role": "Guardrail", "kind": "Ratio", "direction": "Decrease",
        "source": {"router": {"signal": "Errors"}}, "clip": {"min": "0", "max": "1"},
    });
    let mut world = World::new(&json!({"metrics": [goal(), errors]}));
    for _ in 0..2 {
        let step = world.step();
        assert!(
            matches!(&step.standing, Standing::Stalled(Stalled::InvalidSpec, why) if why.contains("clip")),
            "{:?}",
            step.standing
        );
        assert!(!step.in_force);
    }
}

#[test]
fn a_winner_that_the_endpoint_gives_up_is_told_and_may_be_stopped_or_tried_again() {
    let mut world = running(&json!({}), &WON);
    world.now = 2 * HOUR;
    world.step();
    world.command("approve/1");
    world.step();
    world.promotion = Promotion::GivenUp("dddddddddd".to_owned());
    let step = world.step();
    assert!(
        matches!(&step.standing, Standing::Stalled(Stalled::PromotionFailed, why) if why.contains("dddddddddd") && why.contains("abort")),
        "{:?}",
        step.standing
    );
    assert!(
        !step.in_force,
        "everybody is control's until it is tried again"
    );
    // Tried again, it goes on.
    let mut again = World {
        experiment: world.experiment.clone(),
        promotion: Promotion::Done("v2".to_owned()),
        ..World::new(&json!({}))
    };
    again.now = 3 * HOUR;
    again.step();
    assert_eq!(phase(&again), Phase::Applied);
    world.command("abort/2");
    world.step();
    assert_eq!(answered(&world).0, "Done");
    world.dealt = false;
    world.step();
    assert_eq!(phase(&world), Phase::Applied);
    assert_eq!(verdict(&world), Some(Verdict::Inconclusive));
}

#[test]
fn one_that_is_over_and_was_edited_takes_no_endpoint_from_one_that_runs() {
    let mut world = running(&json!({}), &WON);
    world.now = 2 * HOUR;
    world.step();
    world.command("approve/1");
    world.promotion = Promotion::Done("v2".to_owned());
    world.step();
    world.step();
    assert_eq!(phase(&world), Phase::Applied);
    world.rivals = vec![Rival {
        name: "younger".to_owned(),
        created: Some(at(5)),
        has_begun: true,
    }];
    let mut metric = goal();
    metric["source"]["feedback"]["event"] = json!("buy");
    world.edit(&json!({"metrics": [metric]}));
    for _ in 0..3 {
        let step = world.step();
        assert!(
            matches!(&step.standing, Standing::Stalled(Stalled::EndpointConflict, why) if why.contains("younger")),
            "{:?}",
            step.standing
        );
        assert!(!step.in_force);
        assert!(
            step.state.conclusion.is_some(),
            "its verdict stays until it goes on"
        );
    }
    world.rivals.clear();
    world.totals = None;
    let step = world.step();
    assert_eq!(step.standing, Standing::Running);
    assert!(step.in_force);
}

#[test]
fn between_two_looks_what_the_last_one_has_shown_stands() {
    let mut world = running(&json!({}), &EQUAL);
    world.step();
    let shown = world.experiment.status.clone().unwrap();
    assert_eq!(condition(&world, Type::SampleRatioOK).0, "True");
    world.totals = None;
    world.step();
    assert_eq!(world.experiment.status.clone().unwrap(), shown);
    // Of another epoch nothing is known.
    world.models.get_mut("m2").unwrap().revision = Some("eeeeeeeeee".to_owned());
    world.step();
    assert_eq!(condition(&world, Type::SampleRatioOK).0, "Unknown");
}

#[test]
fn it_waits_for_its_time_its_variants_and_the_endpoints_rollout() {
    let mut world = World::new(&json!({"schedule": {"startAt": at(100).to_string()}}));
    world.models.get_mut("m1").unwrap().rolling = true;
    world.models.get_mut("m2").unwrap().ready = false;
    assert!(matches!(
        world.step().standing,
        Standing::Pending(Waiting::Start(_))
    ));
    world.now = 100;
    assert_eq!(world.step().standing, Standing::Pending(Waiting::Rollout));
    world.models.get_mut("m1").unwrap().rolling = false;
    assert!(
        matches!(world.step().standing, Standing::Pending(Waiting::Variants(why)) if why.contains("m2"))
    );
    assert_eq!(condition(&world, Type::Reconciling).1, "WarmingVariants");
    world.models.get_mut("m2").unwrap().ready = true;
    assert_eq!(world.step().standing, Standing::Running);
    assert_eq!(
        condition(&world, Type::Ready),
        ("True".to_owned(), "Running".to_owned())
    );
    // A pod that is lost later ends nothing.
    world.models.get_mut("m2").unwrap().ready = false;
    assert_eq!(world.step().standing, Standing::Running);
    assert_eq!(condition(&world, Type::Ready).1, "VariantsNotReady");
}

#[test]
fn a_variant_that_never_was_stalls_and_one_that_disappears_is_out() {
    let mut world = World::new(&json!({}));
    let model = world.models.remove("m2").unwrap();
    assert!(matches!(
        world.step().standing,
        Standing::Stalled(Stalled::InvalidVariant, _)
    ));
    world.models.insert("m2".to_owned(), model);
    world.step();
    let back = world.models.remove("m2").unwrap();
    let step = world.step();
    assert!(step.state.out["v2"].contains("m2 is gone"));
    // Nobody is left to be compared, and no verdict on a model follows from that.
    let Standing::Stalled(Stalled::InvalidVariant, why) = step.standing else {
        panic!("{:?}", step.standing)
    };
    assert!(why.contains("m2 is gone"), "{why}");
    assert!(!step.in_force);
    world.totals = Some(users(&EQUAL).totals(&design(&json!({}))));
    world.step();
    assert_eq!(verdict(&world), None);
    // One that comes back begins anew once it is ready and the endpoint is not on its way elsewhere.
    for (change, is_back) in [
        ((true, false), false),
        ((false, true), false),
        ((true, true), true),
    ] {
        let (settled, ready) = change;
        let mut model = back.clone();
        model.ready = ready;
        world.models.insert("m2".to_owned(), model);
        world.models.get_mut("m1").unwrap().rolling = !settled;
        let step = world.step();
        let stalled = matches!(step.standing, Standing::Stalled(Stalled::InvalidVariant, _));
        assert_eq!(!stalled, is_back, "{change:?}: {:?}", step.standing);
        assert_eq!(step.state.epoch.unwrap().id, if is_back { 2 } else { 1 });
        assert_eq!(verdict(&world), None, "{change:?}");
    }
    world.models.remove("m2");
    world.step();
    world.command("abort/1");
    world.step();
    let decision = world.experiment.status.clone().unwrap().decision.unwrap();
    assert!(decision.message.contains("aborted"), "{}", decision.message);
    assert_eq!(decision.approved_at, None, "nobody has approved an abort");
}

#[test]
fn an_abort_says_that_a_spec_change_that_waited_is_rolled_out() {
    let mut world = World::new(&json!({}));
    world.step();
    world.models.get_mut("m1").unwrap().waits = true;
    world.command("abort/1");
    world.step();
    let status = world.experiment.status.clone().unwrap();
    for said in [
        status.last_command.unwrap().message,
        status.message.unwrap(),
    ] {
        assert!(said.contains("m1 asks for another revision"), "{said}");
    }
}

#[test]
fn another_revision_or_metric_opens_an_epoch_and_coverage_does_not() {
    let mut world = running(&json!({}), &EQUAL);
    let epoch = |world: &mut World| world.step().state.epoch.unwrap();
    let first = epoch(&mut world);
    world.edit(&json!({"assignment": {"coveragePercent": 10}}));
    assert_eq!(epoch(&mut world), first);
    world.models.get_mut("m2").unwrap().revision = Some("eeeeeeeeee".to_owned());
    let second = epoch(&mut world);
    assert_eq!((second.id, second.slots.clone()), (2, first.slots));
    assert!(
        second.reason.contains("another revision"),
        "{}",
        second.reason
    );
    world.edit(&json!({"analysis": {"alpha": "0.1"}}));
    assert_eq!(epoch(&mut world).id, 3);
    world.edit(&json!({"variants": [
        {"name": "v1", "modelRef": {"name": "m1"}}, {"name": "v2", "modelRef": {"name": "m2"}}, {"name": "v3", "modelRef": {"name": "m3"}},
    ]}));
    let with_third = epoch(&mut world);
    assert_eq!((with_third.id, with_third.slots.owned("v3")), (4, 3333));
    // v1 and v2 gave their highest slots up, and nobody else moved.
    assert_eq!(with_third.slots.used("v1", 10_000), [(0, 3334)]);
    assert_eq!(with_third.slots.used("v2", 10_000), [(5000, 8333)]);
}

#[test]
fn a_look_at_the_epoch_before_decides_nothing() {
    let mut world = running(&json!({}), &WON);
    world.now = 2 * HOUR;
    world.models.get_mut("m2").unwrap().revision = Some("eeeeeeeeee".to_owned());
    let step = world.step();
    assert_eq!(
        (step.standing, step.state.epoch.unwrap().id),
        (Standing::Running, 2)
    );
    assert!(world.experiment.status.unwrap().results.is_none());
}

#[test]
fn a_verdict_is_terminal_until_what_is_compared_changes() {
    let mut world = running(&json!({}), &LOST);
    world.step();
    world.totals = Some(users(&WON).totals(&design(&json!({}))));
    for (hours, patch) in [
        (2, json!({})),
        (30, json!({"schedule": {"maxDuration": "400h"}})),
    ] {
        world.now = hours * HOUR;
        world.edit(&patch);
        world.step();
        assert_eq!(verdict(&world), Some(Verdict::RollBack));
    }
    world.edit(&json!({"analysis": {"alpha": "0.1"}}));
    let step = world.step();
    assert_eq!(step.standing, Standing::Running);
    assert_eq!(step.state.epoch.unwrap().id, 2);
    assert_eq!(verdict(&world), None);
}

#[test]
fn time_that_runs_backwards_has_not_passed() {
    let mut world = running(&json!({}), &EQUAL);
    world.now = -100 * HOUR;
    assert_eq!(world.step().standing, Standing::Running);
    assert_eq!(elapsed(Some(at(5)), at(0)), Duration::ZERO);
}

#[test]
fn a_paused_experiment_deals_and_decides_nothing_and_a_suspended_one_deals_to_nobody() {
    let mut world = running(&json!({}), &LOST);
    world.command("pause/1");
    let step = world.step();
    assert_eq!((step.standing, step.in_force), (Standing::Paused, true));
    assert_eq!((phase(&world), verdict(&world)), (Phase::Paused, None));
    world.edit(&json!({"suspend": true}));
    let step = world.step();
    assert_eq!((step.standing, step.in_force), (Standing::Suspended, false));
    world.edit(&json!({"suspend": false}));
    world.command("resume/2");
    world.step();
    assert_eq!(verdict(&world), Some(Verdict::RollBack));
}

#[test]
fn commands_are_answered_once_and_those_that_make_no_sense_change_nothing() {
    let mut world = running(&json!({}), &EQUAL);
    for (command, expected) in [
        ("approve/1", "nothing waits"),
        ("resume/2", "not paused"),
        ("promote/3", "knows approve, abort, pause and resume"),
        ("dance/4", "the verbs are"),
    ] {
        world.command(command);
        world.step();
        let (result, message) = answered(&world);
        assert!(
            result == "Refused" && message.contains(expected),
            "{command}: {message}"
        );
        assert_eq!(phase(&world), Phase::Running);
    }
    world.command("abort/5");
    world.step();
    assert_eq!(answered(&world).0, "Done");
    assert_eq!(condition(&world, Type::Complete).1, "Aborted");
    assert_eq!(world.step().acknowledged, None);
}

#[test]
fn a_stale_approval_promotes_nothing() {
    let mut world = running(&json!({}), &WON);
    world.now = 2 * HOUR;
    world.step();
    world.command("approve/v3/1");
    world.step();
    assert_eq!(answered(&world).0, "Refused");
    // What won is served no more: what is there now is compared, and the verdict was not about that.
    world.models.get_mut("m2").unwrap().revision = Some("eeeeeeeeee".to_owned());
    world.command("approve/v2/2");
    let step = world.step();
    let (result, message) = answered(&world);
    assert!(
        result == "Refused" && message.contains("nothing waits"),
        "{message}"
    );
    assert_eq!(step.standing, Standing::Running);
    let epoch = step.state.epoch.unwrap();
    assert_eq!(
        (epoch.id, epoch.revisions["v2"].as_str()),
        (2, "eeeeeeeeee")
    );
}

#[test]
fn the_answer_to_a_command_and_a_need_for_a_human_are_told_once() {
    let mut world = running(&json!({}), &EQUAL);
    let told = |world: &mut World| {
        let before = world.experiment.status.clone();
        let step = world.step();
        let after = world.experiment.status.clone().unwrap();
        let told = crate::plan::notices_of_experiment(before.as_ref(), &after, &step.notices);
        let reasons = told.into_iter().map(|notice| notice.reason);
        reasons.collect::<Vec<_>>()
    };
    world.command("pause/1");
    assert_eq!(told(&mut world), ["CommandDone"]);
    world.command("approve/2");
    assert_eq!(told(&mut world), ["CommandRefused"]);
    assert_eq!(told(&mut world), [""; 0]);
    world.models.remove("m1");
    assert_eq!(told(&mut world), ["InvalidVariant"]);
    assert_eq!(told(&mut world), [""; 0]);
}

#[test]
fn a_promotion_that_nothing_comes_of_can_be_given_up_and_one_that_moves_cannot() {
    let mut world = running(&json!({}), &WON);
    world.now = 2 * HOUR;
    world.step();
    world.command("approve/1");
    world.step();
    let abort = |world: &mut World, nonce: u32| {
        world.command(&format!("abort/{nonce}"));
        world.step();
        answered(world).0
    };
    assert_eq!(abort(&mut world, 2), "Refused", "it begins within seconds");
    world.now += 120;
    world.models.get_mut("m1").unwrap().rolling = true;
    assert_eq!(abort(&mut world, 3), "Refused");
    world.models.get_mut("m1").unwrap().rolling = false;
    assert_eq!(abort(&mut world, 4), "Done");
}

#[test]
fn a_metric_that_nobody_can_be_asked_for_is_said_at_once() {
    let mut queue = goal();
    queue["name"] = json!("queue");
    queue["role"] = json!("Guardrail");
    queue["source"] = json!({"prometheus": {"query": "up"}});
    queue["kind"] = json!("Mean");
    queue["absoluteMax"] = json!("1");
    queue.as_object_mut().unwrap().remove("minimumEffect");
    let mut world = World::new(&json!({"metrics": [goal(), queue]}));
    world.asks_prometheus = false;
    let step = world.step();
    assert!(
        matches!(&step.standing, Standing::Stalled(Stalled::InvalidSpec, why) if why.contains("--prometheus-url")),
        "{:?}",
        step.standing
    );
    world.asks_prometheus = true;
    assert_eq!(world.step().standing, Standing::Running);
}

#[test]
fn after_a_report_nobody_is_dealt_to_a_revision_that_was_not_compared() {
    let mut world = running(&json!({"decision": {"onWin": "Report"}}), &WON);
    world.now = 2 * HOUR;
    world.step();
    assert!(world.step().in_force, "users stay in their arms");
    assert_eq!(phase(&world), Phase::Applied);
    // A human has committed the winner to the endpoint.
    world.models.get_mut("m1").unwrap().revision = Some("eeeeeeeeee".to_owned());
    let step = world.step();
    assert!(!step.in_force);
    assert_eq!(verdict(&world), Some(Verdict::Promote), "the report stays");
    world.dealt = false;
    world.step();
    let step = world.step();
    let conclusion = step.state.conclusion.unwrap();
    assert!(conclusion.is_over(), "the endpoint is free");
    assert!(
        conclusion
            .message
            .contains("variant v1 has another revision")
            && conclusion.message.matches("everybody is control's").count() == 1,
        "{}",
        conclusion.message
    );
    assert_eq!(step.state.epoch.unwrap().id, 1);
}

#[test]
fn a_winner_that_the_spec_has_overtaken_is_said_and_can_be_ended() {
    let mut world = running(&json!({}), &WON);
    world.now = 2 * HOUR;
    world.step();
    world.command("approve/1");
    world.promotion = Promotion::Overtaken("dddddddddd".to_owned());
    let step = world.step();
    assert!(
        matches!(&step.standing, Standing::Stalled(Stalled::PromotionFailed, why) if why.contains("dddddddddd")),
        "{:?}",
        step.standing
    );
    assert!(!step.in_force, "nobody is left in an arm");
    world.command("abort/2");
    world.step();
    assert_eq!(answered(&world).0, "Done");
}

#[test]
fn after_the_status_was_lost_an_old_command_is_not_carried_out_again() {
    let mut world = running(&json!({}), &EQUAL);
    world.command("abort/1");
    world.experiment.status = None;
    world.step();
    assert_eq!(
        (phase(&world), answered(&world).0.as_str()),
        (Phase::Running, "Refused")
    );
}

#[test]
fn a_status_of_another_version_is_held() {
    let mut world = running(&json!({}), &EQUAL);
    let mut status = serde_json::to_value(&world.experiment.status).unwrap();
    status["phase"] = json!("Meditating");
    world.experiment.status = serde_json::from_value(status.clone()).unwrap();
    world.experiment.metadata.generation = Some(7);
    let step = world.step();
    assert!(matches!(
        step.standing,
        Standing::Stalled(Stalled::UnknownState, _)
    ));
    let mut after = serde_json::to_value(&world.experiment.status).unwrap();
    assert_eq!(after["observedGeneration"], 7);
    for one in [&mut status, &mut after] {
        let fields = one.as_object_mut().unwrap();
        fields.retain(|name, _| name != "conditions" && name != "observedGeneration");
    }
    assert_eq!(after, status);
}

#[test]
fn a_spec_that_cannot_be_read_deals_to_nobody_and_the_epoch_goes_on_when_it_is_repaired() {
    let mut world = running(&json!({}), &EQUAL);
    let first = world.step().state.epoch;
    world.edit(&json!({"schedule": {"maxDuration": "soon"}}));
    let step = world.step();
    assert!(
        matches!(&step.standing, Standing::Stalled(Stalled::InvalidSpec, why) if why.contains("maxDuration"))
    );
    assert!(!step.in_force);
    world.edit(&json!({"schedule": {"maxDuration": "24h"}}));
    let step = world.step();
    assert_eq!(
        (step.standing, step.state.epoch),
        (Standing::Running, first)
    );
}

#[test]
fn columns_say_who_is_ahead() {
    let mut world = running(&json!({}), &EQUAL);
    world.step();
    let status = world.experiment.status.clone().unwrap();
    let leader = status.leader.unwrap();
    assert_eq!(
        (leader.variant.as_str(), leader.effect.as_str()),
        ("v2", "+0.001")
    );
    assert!(leader.interval.starts_with('['));
    assert_eq!(status.users, Some(10_000));
    assert_eq!(status.sample_ratio.unwrap().verdict, "OK");
    assert_eq!(status.results.unwrap().len(), 2);
}

proptest! {
    /// Whatever comes: at a fixed time a second step changes nothing, what is stored is read back, and a
    /// verdict stays unless what is compared changes.
    #[test]
    fn a_step_is_idempotent_and_a_verdict_absorbs(
        events in prop::collection::vec((0..9_u8, 0..40_i64), 1..14),
    ) {
        let mut world = running(&json!({}), &EQUAL);
        for (nonce, (event, time)) in (10..).zip(events) {
            world.now = time * HOUR;
            let before = super::super::state::State::read(world.experiment.status.as_ref()).unwrap().conclusion;
            let mut same = true;
            match event {
                0 => world.command(&format!("pause/{nonce}")),
                1 => world.command(&format!("resume/{nonce}")),
                2 => world.command(&format!("approve/{nonce}")),
                3 => world.command(&format!("abort/{nonce}")),
                4 => { world.models.get_mut("m2").unwrap().ready = time % 2 == 0; }
                5 => { world.edit(&json!({"suspend": time % 2 == 0})); }
                6 => { world.totals = Some(users(&WON).totals(&design(&json!({})))); }
                7 => { world.dealt = time % 2 == 0; }
                _ => {
                    same = false;
                    world.edit(&json!({"analysis": {"alpha": format!("0.0{}", 1 + time % 5)}}));
                }
            }
            // Of a new epoch there is a look from the second step on.
            world.step();
            let once = world.step();
            let status = world.experiment.status.clone();
            let twice = world.step();
            prop_assert_eq!(&once.state, &twice.state);
            prop_assert_eq!(&once.standing, &twice.standing);
            prop_assert_eq!(once.in_force, twice.in_force);
            prop_assert_eq!(&status, &world.experiment.status);
            let stored = super::super::state::State::read(status.as_ref()).unwrap();
            prop_assert_eq!(&stored, &once.state);
            if let (Some(before), true) = (before, same) {
                let after = once.state.conclusion.clone();
                let verdict = after.as_ref().map(|one| (one.verdict, one.reason == super::super::state::ABORTED));
                // A human may stop what waits for an approval.
                prop_assert!(verdict.is_some_and(|(verdict, aborted)| verdict == before.verdict || aborted));
            }
        }
    }
}

#[test]
fn with_a_handful_of_users_nobody_leads_no_time_is_told_and_no_guardrail_is_said_to_hold() {
    let mut world = World::new(&json!({}));
    world.step();
    world.totals = Some(users(&[(9, 1), (9, 6)]).totals(&design(&json!({}))));
    world.now = 60;
    world.step();
    let status = world.experiment.status.clone().unwrap();
    assert_eq!(status.leader, None);
    let results = status.results.unwrap();
    assert!(!results.is_empty());
    for result in results {
        assert_eq!(result.eta, None, "{}", result.metric);
        for end in [result.lower, result.upper].into_iter().flatten() {
            let end: f64 = end.as_str().parse().unwrap();
            assert!((-1.0..=1.0).contains(&end), "two shares differ by {end}");
        }
    }
    assert_eq!(condition(&world, Type::GuardrailsOK).0, "Unknown");
    world.totals = Some(users(&EQUAL).totals(&design(&json!({}))));
    world.now = 120;
    world.step();
    assert_eq!(condition(&world, Type::GuardrailsOK).0, "True");
    assert!(world.experiment.status.clone().unwrap().leader.is_some());
}
