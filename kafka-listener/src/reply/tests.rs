use super::*;
use crate::record::encoded::{decoded, encoded};

type Headers<'h> = [(&'h [u8], Option<&'h [u8]>)];

const OWN: [&str; 2] = ["orders", "orders-retry"];

#[track_caller]
fn check(send_to: &SendTo, headers: &Headers<'_>, expected: Result<(&str, Option<i32>, bool), NoRoute>) {
    let own = OWN.map(str::to_owned);
    let route = send_to.route("orders", HeaderIter::new(&encoded(headers)), &own);
    let expected =
        expected.map(|(topic, partition, is_asked_for)| Route { topic: topic.to_owned(), partition, is_asked_for });
    assert_eq!(route, expected, "{headers:?}");
}

const TOPIC: &[u8] = b"kafka_replyTopic";
const PARTITION: &[u8] = b"kafka_replyPartition";
const SEVEN: Option<&[u8]> = Some(&[0, 0, 0, 7]);

#[test]
fn a_topic_of_the_configuration_takes_a_partition_that_is_one_of_it() {
    let send_to = SendTo::Topic("{topic}-replies".to_owned());
    check(&send_to, &[], Ok(("orders-replies", None, false)));
    check(&send_to, &[(PARTITION, SEVEN)], Ok(("orders-replies", Some(7), false)));
    check(&send_to, &[(PARTITION, SEVEN), (TOPIC, Some(b"orders-replies"))], Ok(("orders-replies", Some(7), false)));
    check(&send_to, &[(TOPIC, Some(b"elsewhere")), (PARTITION, SEVEN)], Ok(("orders-replies", None, false)));
    check(&send_to, &[(TOPIC, Some(b"elsewhere")), (PARTITION, Some(b"x"))], Ok(("orders-replies", None, false)));
    check(&send_to, &[(PARTITION, Some(b"7"))], Err(NoRoute::NoPartition));
}

#[test]
fn a_record_names_a_topic_by_its_last_header_and_not_one_that_the_listener_reads() {
    let send_to = SendTo::ReplyTopic;
    check(&send_to, &[], Err(NoRoute::Missing));
    check(&send_to, &[(TOPIC, Some(b"a")), (TOPIC, Some(b"b"))], Ok(("b", None, true)));
    check(&send_to, &[(TOPIC, Some(b"a")), (PARTITION, None), (PARTITION, SEVEN)], Ok(("a", Some(7), true)));
    for illegal in [None, Some(&b""[..]), Some(b"a b"), Some(b"\xff"), Some(b".."), Some(b"^a")] {
        check(&send_to, &[(TOPIC, illegal)], Err(NoRoute::NoTopic));
    }
    for own in OWN {
        check(&send_to, &[(TOPIC, Some(own.as_bytes()))], Err(NoRoute::OwnTopic(own.to_owned())));
    }
    for partition in [None, Some(&[][..]), Some(&[0, 0, 7]), Some(&[0xff; 4]), Some(&[0; 5])] {
        check(&send_to, &[(TOPIC, Some(b"a")), (PARTITION, partition)], Err(NoRoute::NoPartition));
    }
}

#[test]
fn the_last_correlation_is_copied_as_it_is_unless_the_reply_has_its_own() {
    let check = |own: &Headers<'_>, source: &Headers<'_>, expected: &Headers<'_>| {
        let headers = reply_headers(&encoded(own), HeaderIter::new(&encoded(source)));
        assert_eq!(decoded(&headers), decoded(&encoded(expected)));
    };
    let binary: Option<&[u8]> = Some(b"\0\xff");
    let source: &Headers<'_> = &[(CORRELATION_ID, Some(b"1")), (b"trace", Some(b"7")), (CORRELATION_ID, binary)];
    check(&[], source, &[(CORRELATION_ID, binary)]);
    check(&[(b"a", None)], source, &[(b"a", None), (CORRELATION_ID, binary)]);
    check(&[(CORRELATION_ID, None)], source, &[(CORRELATION_ID, None)]);
    check(&[], &[(b"trace", Some(b"7"))], &[]);
    check(&[], &[(CORRELATION_ID, None)], &[]);
}

#[test]
fn only_what_the_record_or_its_reply_is_to_blame_for_fails_the_record() {
    let route = |is_asked_for, partition| Route { topic: "replies".to_owned(), partition, is_asked_for };
    let topic = || "replies".to_owned();
    let of_the_configuration = route(false, None);
    let asked_for = route(true, None);
    let is_fault = |error: &Unpublished, route: &Route| is_fault_of_the_record(error, route, &Reply::null());
    let too_large = Unpublished::Send(SendError::TooLarge { topic: topic(), size: 9 });
    let missing = || Unpublished::NoTopic { kind: "reply topic", topic: topic() };
    let timed_out = Unpublished::Send(SendError::TimedOut { topic: topic() });
    let no_partition = Unpublished::Send(SendError::UnknownPartition { topic: topic(), partition: 7 });
    assert!(is_fault(&too_large, &of_the_configuration));
    assert!(!is_fault(&missing(), &of_the_configuration) && is_fault(&missing(), &asked_for));
    assert!(!is_fault(&timed_out, &of_the_configuration) && !is_fault(&timed_out, &asked_for));
    assert!(!is_fault(&no_partition, &asked_for) && is_fault(&no_partition, &route(true, Some(7))));
    assert!(is_fault_of_the_record(&no_partition, &asked_for, &Reply::null().partition(7)));
}
