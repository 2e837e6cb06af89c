"""What tests need around them: real servers, started and crashed at will."""
