-- The variant that was seen to win is named: a click that comes too late does nothing.
local os = require("os")
local decision = (obj.status or {}).decision
local variant = decision and decision.variant and decision.variant .. "/" or ""
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["betterai.dev/command"] = "approve/" .. variant .. os.time()
return obj
