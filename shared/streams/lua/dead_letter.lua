-- Gives an entry up: acknowledges it, then keeps it with the reason (letter.lua).
--
-- KEYS  1 stream   2 dead letters of the group
-- ARGV  1 group   2 entry id   3 reason   4 attempts
-- Reply 1 given up, 0 no longer pending: a peer was quicker, and nothing was written
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
write_letter(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
return 1
