//! What routers and servers say to each other.
//!
//! Owns nothing but the form of its input. Invariant: bytes are a message or refused; what is read is
//! written as a message that is read the same; never a panic, and no memory that a length alone asks for.
#![no_main]

use inference_api::internal::{
    read_answer, read_question, write_answer, write_question, write_unanswered,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(question) = read_question(data) {
        let again = write_question(
            question.until,
            question.bulk,
            question.options,
            &question.inputs,
        );
        assert_eq!(read_question(&again), Ok(question), "another question");
    }
    match read_answer(data) {
        // Numbers that are none are not equal to themselves; their bits are.
        Ok(Ok(answer)) => {
            let again = write_answer(&answer);
            let read = read_answer(&again).map(|read| read.map(|read| write_answer(&read)));
            assert_eq!(read, Ok(Ok(again.clone())), "another answer");
        }
        Ok(Err(why)) => {
            let again = write_unanswered(&why);
            assert_eq!(read_answer(&again), Ok(Err(why)), "another reason");
        }
        Err(_) => {}
    }
});
