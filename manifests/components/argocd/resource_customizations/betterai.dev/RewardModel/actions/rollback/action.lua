-- The revision to leave is named: a click that comes too late does nothing.
local os = require("os")
local stable = (obj.status or {}).stable
local revision = stable and stable.revision .. "/" or ""
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["betterai.dev/command"] = "rollback/" .. revision .. os.time()
return obj
